/**
 * Small mistakes, one at a time: what a slip of the hand could have made of a source file. Whether
 * the tests notice each of them is what `scripts/mutate.mjs` finds out.
 */
import ts from 'typescript'

/** Each operator with what it becomes. The first of two is a boundary, the second the contrary. */
const binaryOperators = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '===': ['!=='],
  '!==': ['==='],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '**': ['*'],
  '&&': ['||'],
  '||': ['&&'],
  '??': ['&&'],
  '+=': ['-='],
  '-=': ['+='],
  '*=': ['/='],
  '&&=': ['||='],
  '??=': ['&&='],
}
const stepOperators = { '++': '--', '--': '++' }
const comparisons = new Set(['<', '<=', '>', '>=', '===', '!=='])

/**
 * Every mutant of a source text: { start, end, text, line, source, change }. Replacing the range by
 * `text` makes the mutant; `source` is the trimmed line that it begins on, `change` says the rest.
 */
export function findMutants(fileName, sourceText) {
  const file = ts.createSourceFile(fileName, sourceText, ts.ScriptTarget.ES2022, true)
  const lines = sourceText.split('\n')
  const found = []
  const visit = (node) => {
    // What only the compiler sees has no behaviour.
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node)) return
    if (ts.isTypeAliasDeclaration(node) || ts.isImportDeclaration(node)) return
    for (const [target, text] of changesOf(node, file)) {
      const start = target.getStart(file)
      const { line } = file.getLineAndCharacterOfPosition(start)
      const change = `${flat(target.getText(file))} -> ${flat(text)}`
      const source = lines[line].trim()
      found.push({ start, end: target.end, text, line: line + 1, source, change })
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  return found
}

function flat(text) {
  const line = text.replace(/\s+/g, ' ')
  return line.length <= 90 ? line : `${line.slice(0, 87)}...`
}

/** Pairs of a node to replace and its replacement. */
function changesOf(node, file) {
  return [
    ...changesOfOperator(node, file),
    ...changesOfCondition(node, file),
    ...changesOfStatement(node),
    ...changesOfLiteral(node),
  ]
}

function changesOfOperator(node, file) {
  if (ts.isBinaryExpression(node)) {
    const operator = node.operatorToken.getText(file)
    const [left, right] = [node.left.getText(file), node.right.getText(file)]
    const replacements = Object.hasOwn(binaryOperators, operator) ? binaryOperators[operator] : []
    return replacements.map((replacement) => {
      const text = `${left} ${replacement} ${right}`
      // These bind differently among each other; the parentheses keep the operands what they were.
      return [node, ['&&', '||'].includes(replacement) ? `(${text})` : text]
    })
  }
  if (ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) {
    const operator = ts.tokenToString(node.operator)
    const operand = node.operand.getText(file)
    if (operator === '!') return [[node, operand]]
    if (!Object.hasOwn(stepOperators, operator)) return []
    const replacement = stepOperators[operator]
    const isPrefix = ts.isPrefixUnaryExpression(node)
    return [[node, isPrefix ? `${replacement}${operand}` : `${operand}${replacement}`]]
  }
  return []
}

/** Conditions are negated, but for those that another change negates already. */
function changesOfCondition(node, file) {
  const condition = conditionOf(node)
  if (condition === undefined) return []
  const isCompared =
    ts.isBinaryExpression(condition) && comparisons.has(condition.operatorToken.getText(file))
  const isNegated =
    ts.isPrefixUnaryExpression(condition) && condition.operator === ts.SyntaxKind.ExclamationToken
  return isCompared || isNegated ? [] : [[condition, `!(${condition.getText(file)})`]]
}

function conditionOf(node) {
  if (ts.isIfStatement(node) || ts.isWhileStatement(node) || ts.isDoStatement(node)) {
    return node.expression
  }
  return ts.isForStatement(node) || ts.isConditionalExpression(node) ? node.condition : undefined
}

/** Calls and assignments are left out; what is returned is not. */
function changesOfStatement(node) {
  if (ts.isExpressionStatement(node)) return [[node, ';']]
  if (!ts.isReturnStatement(node) || node.expression === undefined) return []
  const { expression } = node
  const isUndefined = ts.isIdentifier(expression) && expression.text === 'undefined'
  return isUndefined || isBoolean(expression) ? [] : [[node, 'return undefined']]
}

function changesOfLiteral(node) {
  if (isBoolean(node)) return [[node, node.kind === ts.SyntaxKind.TrueKeyword ? 'false' : 'true']]
  if (!ts.isNumericLiteral(node)) return []
  const value = Number(node.text)
  return [value + 1, value - 1].map((other) => [node, other < 0 ? `(${other})` : `${other}`])
}

function isBoolean(node) {
  return node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword
}
