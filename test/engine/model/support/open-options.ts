import type { OpenModelOptions } from '../../../../engine/model/open-model.js'

/** What engine/text does with GGUF metadata, as far as these tests look. */
export const OPEN_OPTIONS: OpenModelOptions = {
  tokenizerFromGguf: (metadata) => ({
    tokenizer: { numTokens: metadata.requireStrings('tokenizer.ggml.tokens').length },
    tokenizerConfig: {},
    chatTemplate: metadata.string('tokenizer.chat_template') ?? null,
    bosToken: null,
    eosToken: '<|im_end|>',
  }),
}
