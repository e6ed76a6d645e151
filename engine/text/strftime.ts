const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
]
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']

/** The directives of Python's strftime that chat templates use, in English and local time. */
export function formatTime(time: Date, format: string): string {
  return format.replace(/%(.)/g, (directive, letter: string) => {
    switch (letter) {
      case 'Y':
        return String(time.getFullYear())
      case 'y':
        return twoDigits(time.getFullYear() % 100)
      case 'm':
        return twoDigits(time.getMonth() + 1)
      case 'd':
        return twoDigits(time.getDate())
      case 'B':
        return MONTHS[time.getMonth()]!
      case 'b':
        return MONTHS[time.getMonth()]!.slice(0, 3)
      case 'A':
        return DAYS[time.getDay()]!
      case 'a':
        return DAYS[time.getDay()]!.slice(0, 3)
      case 'H':
        return twoDigits(time.getHours())
      case 'M':
        return twoDigits(time.getMinutes())
      case 'S':
        return twoDigits(time.getSeconds())
      case '%':
        return '%'
      default:
        return directive
    }
  })
}

function twoDigits(number: number): string {
  return String(number).padStart(2, '0')
}
