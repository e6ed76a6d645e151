/** Names in a model folder of the hub, as its own tools write them. */
export const WEIGHTS_FILE = 'model.safetensors'
export const INDEX_FILE = 'model.safetensors.index.json'
export const MAX_INDEX_BYTES = 16 * 1024 * 1024

/** A name in a model folder, also when another file of the model states it: never a path. */
export const PLAIN_FILE_NAME = /^(?!\.{1,2}$)[A-Za-z0-9._-]+$/
