import { invalidPrompt } from '../errors.js'
import type { ChatMessage } from '../generate-request.js'
import type { TextAssets } from '../model/model-description.js'
import { ChatTemplate } from './chat-template.js'
import { Tokenizer } from './tokenizer.js'

/** Prompts to token ids for one model: chat template and tokenizer together. Runs in a worker. */
export class TextEncoderOfModel {
  readonly #tokenizer: Tokenizer
  readonly #template: ChatTemplate | undefined

  /** Throws ModelFileError where tokenizer or template are broken. */
  constructor(assets: TextAssets) {
    this.#tokenizer = new Tokenizer(assets)
    if (assets.chatTemplate === null) return
    this.#template = new ChatTemplate({
      template: assets.chatTemplate,
      bosToken: assets.bosToken,
      eosToken: assets.eosToken,
      controlTokens: this.#tokenizer.controlTokens.map((token) => token.content),
    })
  }

  encodeChat(messages: readonly ChatMessage[]): Int32Array {
    if (this.#template === undefined) {
      throw invalidPrompt(
        'This model has no chat template, so it cannot take messages. Use /v1/completions.',
      )
    }
    const { shieldedText, shield } = this.#template.render(messages)
    return this.#tokenizer.encodeShielded(shieldedText, shield)
  }

  encodeText(text: string): Int32Array {
    return this.#tokenizer.encodeText(text)
  }
}
