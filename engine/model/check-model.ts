import type { ModelDescription, WeightType } from './model-description.js'
import { ModelFileError } from './model-description.js'
import { type OpenModelOptions, openModel } from './open-model.js'
import { formatBytes } from './progress-bar.js'
import { exactProduct } from './weight-types.js'

export interface TypeSummary {
  readonly type: WeightType
  readonly numTensors: number
  readonly numParameters: number
  readonly byteLength: number
}

/** What `kvasir check` prints: the model as read, or the reason why it was refused. */
export interface ModelReport {
  readonly path: string
  /** Undefined when there are problems. */
  readonly model: ModelDescription | undefined
  readonly types: readonly TypeSummary[]
  readonly numParameters: number
  /** Of all tensors; the files hold headers as well. */
  readonly numWeightBytes: number
  /** Empty for a model that can be served. */
  readonly problems: readonly string[]
}

/**
 * Reads and judges a model without serving it: everything that openModel checks. A refusal is a
 * problem in the report, not an error; any other error is a fault of ours and is thrown.
 */
export async function checkModel(path: string, options: OpenModelOptions): Promise<ModelReport> {
  try {
    const model = await openModel(path, options)
    const types = summarizeTypes(model)
    return {
      path,
      model,
      types,
      numParameters: sum(types.map((type) => type.numParameters)),
      numWeightBytes: sum(types.map((type) => type.byteLength)),
      problems: [],
    }
  } catch (error) {
    if (!(error instanceof ModelFileError)) throw error
    const problems = [error.message]
    return { path, model: undefined, types: [], numParameters: 0, numWeightBytes: 0, problems }
  }
}

/** The report as lines of text, ending with the verdict. */
export function formatModelReport(report: ModelReport): string {
  const { model, problems } = report
  if (model === undefined) {
    return [
      ...problems.map((problem) => `refused  ${problem}`),
      'This model cannot be served.',
    ].join('\n')
  }
  const { config, generation } = model
  const rows: [string, string | number][] = [
    ['model', model.name],
    ['format', model.format],
    ['architecture', config.architecture],
    ['layers', config.numLayers],
    ['hidden size', config.hiddenSize],
    ['intermediate size', config.intermediateSize],
    [
      'attention heads',
      `${config.numHeads} (${config.numKvHeads} for K and V) of ${config.headDim}`,
    ],
    ['vocabulary', config.vocabSize],
    ['context', `${config.maxContextLen} tokens`],
    ['rope', describeRope(model)],
    ['embeddings', config.hasTiedEmbeddings ? 'tied' : 'not tied'],
    ['end tokens', generation.eosTokenIds.join(', ')],
    ['chat template', model.text.chatTemplate === null ? 'none' : 'present'],
    ['parameters', report.numParameters.toLocaleString('en-US')],
    ['weights', `${formatBytes(report.numWeightBytes)} in ${model.tensors.length} tensors`],
    ...report.types.map(describeType),
    ...model.files.map(({ path, byteLength }): [string, string] => [
      'file',
      `${path} (${byteLength.toLocaleString('en-US')} bytes)`,
    ]),
    ['digest', model.digest],
  ]
  const width = Math.max(...rows.map(([label]) => label.length))
  const lines = rows.map(([label, value]) => `${label.padEnd(width)}  ${value}`)
  return [...lines, 'This model can be served.'].join('\n')
}

function summarizeTypes(model: ModelDescription): TypeSummary[] {
  const byType = new Map<WeightType, TypeSummary>()
  for (const { type, shape, byteLength } of model.tensors) {
    const before = byType.get(type)
    byType.set(type, {
      type,
      numTensors: (before?.numTensors ?? 0) + 1,
      numParameters: (before?.numParameters ?? 0) + (exactProduct(shape) ?? 0),
      byteLength: (before?.byteLength ?? 0) + byteLength,
    })
  }
  return [...byType.values()].sort((a, b) => b.byteLength - a.byteLength)
}

function describeType(summary: TypeSummary): [string, string] {
  const parameters = summary.numParameters.toLocaleString('en-US')
  const bytes = formatBytes(summary.byteLength)
  return [`  ${summary.type}`, `${summary.numTensors} tensors, ${parameters} parameters, ${bytes}`]
}

function describeRope({ config, tensors }: ModelDescription): string {
  const hasFactors = tensors.some((tensor) => tensor.name === 'rope_freqs.weight')
  const scaling = config.ropeScaling !== null || hasFactors ? ', scaled as in Llama 3' : ''
  return `theta ${config.ropeTheta}${scaling}`
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
