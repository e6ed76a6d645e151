import { type RenderFence, RenderLimitError } from './render-fence.js'
import type { ContentShield } from './special-token-guard.js'
import { type MethodArguments, StringMethods } from './string-methods.js'
import {
  BaseInterpreter,
  entriesOf,
  itemsOf,
  makeBoolean,
  makeList,
  makeString,
  type RuntimeValue,
  type Scope,
  type TemplateNode,
  textOf,
} from './template-values.js'

/** Widths and separators that filters put between or before things. */
const MAX_FILTER_WIDTH = 64

/**
 * The library's interpreter with two things added at the one place through which every node goes:
 * a fence around what a template may use, and string operations that see through the shield.
 */
export class FencedInterpreter extends BaseInterpreter {
  readonly #fence: RenderFence
  readonly #shield: ContentShield
  readonly #strings: StringMethods
  /** Sizes of values that cannot change any more; namespaces are never in here. */
  readonly #sizes = new WeakMap<object, number>()
  readonly #numNodes = new WeakMap<object, number>()

  constructor(scope: Scope, fence: RenderFence, shield: ContentShield) {
    super(scope)
    this.#fence = fence
    this.#shield = shield
    this.#strings = new StringMethods(shield, fence)
  }

  override evaluate(node: TemplateNode | undefined, scope: Scope): RuntimeValue {
    if (node === undefined) return super.evaluate(node, scope)
    if (node.type === 'HeldValue') return node.held as RuntimeValue
    this.#fence.enter()
    try {
      const value = this.#evaluateNode(node, scope)
      const text = textOf(value)
      if (text !== undefined) this.#fence.chargeText(text.length)
      else this.#sizeOf(value)
      return value
    } finally {
      this.#fence.leave()
    }
  }

  #evaluateNode(node: TemplateNode, scope: Scope): RuntimeValue {
    switch (node.type) {
      case 'BinaryExpression':
        return this.#evaluateBinary(node, scope)
      case 'MemberExpression':
        return this.#evaluateMember(node, scope)
      case 'FilterExpression':
        return this.#evaluateFilter(node, this.evaluate(node.operand as TemplateNode, scope), scope)
      case 'FilterStatement': {
        const body = { type: 'Program', body: node.body }
        return this.#evaluateFilter(node, this.evaluate(body, scope), scope)
      }
      case 'For':
        return this.#evaluateFor(node, scope)
      case 'Macro':
      case 'CallStatement':
        // The library walks the whole body each time to find out which arguments it names.
        this.#fence.chargeItems(this.#countNodes(node))
        return super.evaluate(node, scope)
      default:
        return super.evaluate(node, scope)
    }
  }

  #evaluateBinary(node: TemplateNode, scope: Scope): RuntimeValue {
    const operator = (node.operator as { value: string }).value
    if (operator === 'and' || operator === 'or') return super.evaluate(node, scope)
    const left = this.evaluate(node.left as TemplateNode, scope)
    const right = this.evaluate(node.right as TemplateNode, scope)
    if (operator === '==' || operator === '!=') {
      const areEqual = this.#areEqual(left, right)
      if (areEqual !== undefined) return makeBoolean(areEqual === (operator === '=='))
    }
    if (operator === 'in' || operator === 'not in') {
      const isIn = this.#isIn(left, right)
      if (isIn !== undefined) return makeBoolean(isIn === (operator === 'in'))
    }
    return super.evaluate({ ...node, left: hold(left), right: hold(right) }, scope)
  }

  /** undefined where no text is involved. */
  #areEqual(left: RuntimeValue, right: RuntimeValue): boolean | undefined {
    const [leftText, rightText] = [textOf(left), textOf(right)]
    if (leftText === undefined || rightText === undefined) return undefined
    return this.#reveal(leftText) === this.#reveal(rightText)
  }

  #isIn(left: RuntimeValue, right: RuntimeValue): boolean | undefined {
    const text = textOf(left)
    if (text === undefined) return undefined
    const needle = this.#reveal(text)
    const whole = textOf(right)
    if (whole !== undefined) return this.#reveal(whole).includes(needle)
    const items = itemsOf(right)
    if (items !== undefined) return items.some((item) => this.#areEqual(left, item) === true)
    if (right.type !== 'ObjectValue') return undefined
    return [...entriesOf(right)!.keys()].some((key) => this.#reveal(key) === needle)
  }

  #reveal(text: string): string {
    this.#fence.chargeText(text.length)
    return this.#shield.reveal(text)
  }

  #evaluateMember(node: TemplateNode, scope: Scope): RuntimeValue {
    const object = this.evaluate(node.object as TemplateNode, scope)
    const text = textOf(object)
    if (text !== undefined && node.computed !== true) {
      const method = this.#strings.find(String((node.property as TemplateNode).value), text)
      if (method !== undefined) return method
    }
    return super.evaluate({ ...node, object: hold(object) }, scope)
  }

  #evaluateFilter(node: TemplateNode, value: RuntimeValue, scope: Scope): RuntimeValue {
    const filter = node.filter as TemplateNode
    const isCall = filter.type === 'CallExpression'
    const name = String(((isCall ? filter.callee : filter) as TemplateNode).value)
    const args = this.#holdArguments(isCall ? (filter.args as TemplateNode[]) : [], scope)
    let operand = value
    const text = textOf(operand)
    if (text !== undefined) {
      const result = this.#strings.applyFilter(name, text, args)
      if (result !== undefined) return result
      if (name === 'int' || name === 'float') operand = makeString(this.#reveal(text))
    }
    this.#checkFilterSize(name, operand, args)
    const held = {
      type: 'FilterExpression',
      operand: hold(operand),
      filter: isCall ? { ...filter, args: args.nodes } : filter,
    }
    const result = super.evaluate(held, scope)
    return name === 'tojson' ? makeString(this.#mendEscapes(textOf(result) ?? '')) : result
  }

  /** Evaluates a filter's arguments once, so that they can be looked at before the filter runs. */
  #holdArguments(args: readonly TemplateNode[], scope: Scope): HeldArguments {
    const held = new HeldArguments()
    for (const arg of args) {
      if (arg.type === 'KeywordArgumentExpression') {
        const value = this.evaluate(arg.value as TemplateNode, scope)
        held.addNamed(arg, String((arg.key as TemplateNode).value), value)
      } else if (arg.type === 'StringLiteral') {
        // selectattr() insists on seeing the literals themselves.
        held.addPositional(arg, this.evaluate(arg, scope))
      } else {
        const value = this.evaluate(arg, scope)
        held.addPositional(hold(value), value)
      }
    }
    return held
  }

  /** Filters that make text far larger than what they are given. */
  #checkFilterSize(name: string, operand: RuntimeValue, args: HeldArguments): void {
    for (const value of args.all()) {
      const width = value.type === 'IntegerValue' ? (value.value as number) : textOf(value)?.length
      if (name !== 'tojson' && name !== 'indent' && name !== 'join') continue
      if (width !== undefined && width > MAX_FILTER_WIDTH) {
        throw new RenderLimitError(
          `it gives ${width} to the filter ${name}, the limit is ${MAX_FILTER_WIDTH}`,
        )
      }
      this.#fence.chargeText((width ?? 0) * this.#sizeOf(operand))
    }
  }

  /** JSON in ASCII escapes the stand-ins too: shows what was written instead, still hidden if ASCII. */
  #mendEscapes(json: string): string {
    if (!json.includes('\\u')) return json
    return json.replace(/\\(?:u([0-9a-f]{4})|.)/g, (escaped, hex?: string) => {
      if (hex === undefined) return escaped
      const image = String.fromCharCode(Number.parseInt(hex, 16))
      const plain = this.#shield.reveal(image)
      if (plain === image) return escaped
      const code = plain.charCodeAt(0)
      return code < 0x7f ? image : `\\u${code.toString(16).padStart(4, '0')}`
    })
  }

  #evaluateFor(node: TemplateNode, scope: Scope): RuntimeValue {
    const iterable = node.iterable as TemplateNode
    const isSelect = iterable.type === 'SelectExpression'
    const iterated = this.evaluate((isSelect ? iterable.lhs : iterable) as TemplateNode, scope)
    this.#fence.chargeItems(textOf(iterated)?.length ?? 0)
    const value = toIterable(iterated)
    this.#fence.enterLoop(itemsOf(value)?.length ?? entriesOf(value)?.size ?? 0)
    const held = isSelect ? { ...iterable, lhs: hold(value) } : hold(value)
    return super.evaluate({ ...node, iterable: held }, scope)
  }

  /** Length as text, or the number of values in a list or mapping with all that is inside. */
  #sizeOf(value: RuntimeValue): number {
    return textOf(value)?.length ?? this.#measure(value).size
  }

  /** `isFixed` is false where a namespace is inside: those change, and may even hold themselves. */
  #measure(value: RuntimeValue): { size: number; isFixed: boolean } {
    const items = itemsOf(value) ?? entriesOf(value)?.values()
    if (items === undefined) return { size: 1, isFixed: true }
    const known = this.#sizes.get(value)
    if (known !== undefined) return { size: known, isFixed: true }
    let size = 1
    let isFixed = value.type !== 'NamespaceValue'
    for (const item of items) {
      this.#fence.chargeItems(1)
      const inner = this.#measure(item)
      isFixed &&= inner.isFixed
      size += inner.size
      this.#fence.checkSize(size)
    }
    if (isFixed) this.#sizes.set(value, size)
    return { size, isFixed }
  }

  #countNodes(node: TemplateNode): number {
    const numNodes = this.#numNodes.get(node) ?? countNodes(node)
    this.#numNodes.set(node, numNodes)
    return numNodes
  }
}

/** A node that stands for a value which is already known. */
function hold(held: RuntimeValue): TemplateNode {
  return { type: 'HeldValue', held }
}

/** As in Python, what is undefined has no items and a text has its characters. */
function toIterable(value: RuntimeValue): RuntimeValue {
  if (value.type === 'UndefinedValue') return makeList([])
  const text = textOf(value)
  return text === undefined ? value : makeList(Array.from(text, makeString))
}

class HeldArguments implements MethodArguments {
  readonly nodes: TemplateNode[] = []
  readonly positional: RuntimeValue[] = []
  readonly named = new Map<string, RuntimeValue>()

  addPositional(node: TemplateNode, value: RuntimeValue): void {
    this.nodes.push(node)
    this.positional.push(value)
  }

  addNamed(node: TemplateNode, name: string, value: RuntimeValue): void {
    this.nodes.push({ ...node, value: hold(value) })
    this.named.set(name, value)
  }

  all(): RuntimeValue[] {
    return [...this.positional, ...this.named.values()]
  }
}

function countNodes(node: unknown): number {
  if (typeof node !== 'object' || node === null) return 0
  let numNodes = 1
  for (const child of node instanceof Map ? node.values() : Object.values(node)) {
    numNodes += countNodes(child)
  }
  return numNodes
}
