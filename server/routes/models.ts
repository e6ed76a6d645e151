import type { FastifyInstance, FastifyRequest } from 'fastify'
import { modelLoading } from '../../engine/errors.js'
import type { ModelCard } from '../../engine/generate-request.js'
import type { EngineGate } from '../engine-gate.js'
import { ApiError, excerpt } from '../errors.js'
import type { AppConfig, RouteContext } from '../route-config.js'
import type { ModelList, ModelWire } from '../schemas/responses.js'

/** GET /v1/models and GET /v1/models/{id}; ids contain slashes, plain or as %2F. */
export function addModels(app: FastifyInstance, { gate, config }: RouteContext): void {
  app.get('/v1/models', async (): Promise<ModelList> => {
    const model = loadedModel(gate)
    const data = servedNames(model, config).map((id) => toModelWire(id, model))
    return { object: 'list', data }
  })
  app.get('/v1/models/*', async (request: FastifyRequest): Promise<ModelWire> => {
    const model = loadedModel(gate)
    const { '*': id } = request.params as { '*': string }
    if (!servedNames(model, config).includes(id)) throw modelNotFound(id, model, config)
    return toModelWire(id, model)
  })
}

/** Throws model_not_found unless the request may be answered by this model. */
export function requireServedModel(
  name: string | undefined,
  model: ModelCard,
  config: AppConfig,
): void {
  if (name === undefined || config.modelCheck === 'any') return
  if (!servedNames(model, config).includes(name)) throw modelNotFound(name, model, config)
}

function loadedModel(gate: EngineGate): ModelCard {
  if (gate.loaded === undefined) throw modelLoading()
  return gate.loaded.model
}

function servedNames(model: ModelCard, config: AppConfig): readonly string[] {
  return [...new Set([model.id, ...config.modelAliases])]
}

function modelNotFound(name: string, model: ModelCard, config: AppConfig): ApiError {
  const names = servedNames(model, config).map((served) => `'${served}'`)
  return new ApiError(
    'model_not_found',
    `The model ${excerpt(name)} is not served here. Ask for ${names.join(' or ')}.`,
    'model',
  )
}

function toModelWire(id: string, model: ModelCard): ModelWire {
  return {
    id,
    object: 'model',
    created: model.created,
    owned_by: 'kvasir',
    max_model_len: model.maxContextLen,
    root: model.id,
    parent: null,
  }
}
