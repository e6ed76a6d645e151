import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'

// The library's declarations import each other in a way that Node's resolution does not follow, so
// that its classes come out as `any`. These are the parts that are used here.

/** Any value of the interpreter; its classes are not exported, so kinds are told by `type`. */
export interface RuntimeValue {
  readonly type: string
  readonly value: unknown
}

/** The variables of a template. */
export interface Scope {
  /** Converts a JavaScript value and declares it. Throws if the name is taken. */
  set(name: string, value: unknown): RuntimeValue
}

/** A node of a parsed template. Its other fields depend on `type`. */
export interface TemplateNode {
  readonly type: string
  readonly [field: string]: unknown
}

export interface BaseInterpreter {
  run(program: TemplateNode): RuntimeValue
  /** Every node, statement or expression, is evaluated through this method. */
  evaluate(node: TemplateNode | undefined, scope: Scope): RuntimeValue
}

export const BaseInterpreter = Interpreter as unknown as new (scope: Scope) => BaseInterpreter

export function makeScope(): Scope {
  return new Environment() as Scope
}

/** Parses Jinja as templates of chat models expect it. Throws what the library throws. */
export function parseJinja(source: string): TemplateNode {
  const tokens = tokenize(source, { lstrip_blocks: true, trim_blocks: true })
  return parse(tokens) as unknown as TemplateNode
}

type NativeFunction = (args: RuntimeValue[], scope: Scope) => RuntimeValue

const scratch = makeScope()
// The constructors are reached through values that the library makes itself.
const StringClass = classOf<string>('string', '')
const BooleanClass = classOf<boolean>('boolean', true)
const IntegerClass = classOf<number>('integer', 0)
const ListClass = classOf<RuntimeValue[]>('list', [])
const FunctionClass = classOf<NativeFunction>('function', () => null)

function classOf<T>(name: string, sample: unknown): new (value: T) => RuntimeValue {
  return scratch.set(name, sample).constructor as new (
    value: T,
  ) => RuntimeValue
}

export function makeString(value: string): RuntimeValue {
  return new StringClass(value)
}

export function makeBoolean(value: boolean): RuntimeValue {
  return new BooleanClass(value)
}

export function makeInteger(value: number): RuntimeValue {
  return new IntegerClass(value)
}

export function makeList(items: RuntimeValue[]): RuntimeValue {
  return new ListClass(items)
}

export function makeFunction(call: NativeFunction): RuntimeValue {
  return new FunctionClass(call)
}

/** The text of a string value, undefined for all other kinds. */
export function textOf(value: RuntimeValue | undefined): string | undefined {
  return value?.type === 'StringValue' ? (value.value as string) : undefined
}

/** The items of a list or tuple, undefined for all other kinds. */
export function itemsOf(value: RuntimeValue | undefined): RuntimeValue[] | undefined {
  return value?.type === 'ArrayValue' || value?.type === 'TupleValue'
    ? (value.value as RuntimeValue[])
    : undefined
}

/** The entries of a mapping or namespace, undefined for all other kinds. */
export function entriesOf(
  value: RuntimeValue | undefined,
): ReadonlyMap<string, RuntimeValue> | undefined {
  return value?.value instanceof Map ? value.value : undefined
}
