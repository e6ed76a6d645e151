import { type Field, type FieldTable, ignored, refused, supported } from './field.js'
import { extensionFields, sharedFields } from './fields-shared.js'

const notYet = 'Not supported yet.'
const noTools = 'Tools are not supported yet.'

const messageFields: Readonly<Record<string, Field>> = {
  messages: supported('1 to 4,096 messages.', 4096),
  'messages[].role': supported('system, developer, user, assistant, tool or function.'),
  'messages[].content': supported('A string or text parts; joined by newlines.', 1024),
  'messages[].content[].type': supported('text; refusal in an assistant message.'),
  'messages[].content[].text': supported('The text.'),
  'messages[].content[].refusal': supported('Taken as text.'),
  'messages[].content[].image_url': ignored('Its part is refused by its type.'),
  'messages[].content[].input_audio': ignored('Its part is refused by its type.'),
  'messages[].content[].file': ignored('Its part is refused by its type.'),
  'messages[].content[].video_url': ignored('Its part is refused by its type.'),
  'messages[].content[].prompt_cache_breakpoint': ignored('Prefixes are reused without it.'),
  'messages[].content[].cache_control': ignored('Prefixes are reused without it.'),
  'messages[].name': supported('Given to the chat template.'),
  'messages[].tool_calls': supported('Given to the chat template.', 128),
  'messages[].tool_calls[].id': supported('Given to the chat template.'),
  'messages[].tool_calls[].type': supported('function.'),
  'messages[].tool_calls[].index': ignored('The order of the array counts.'),
  'messages[].tool_calls[].function': supported('Given to the chat template.'),
  'messages[].tool_calls[].function.name': supported('Given to the chat template.'),
  'messages[].tool_calls[].function.arguments': supported('JSON is parsed for the template.'),
  'messages[].tool_calls[].custom': refused('Only function tools are known.'),
  'messages[].tool_call_id': supported('Given to the chat template.'),
  'messages[].refusal': supported('Taken as the content where there is none.'),
  'messages[].reasoning': supported('Given to the chat template.'),
  'messages[].reasoning_content': supported('The same as reasoning.'),
  'messages[].annotations': ignored('Not used.'),
  'messages[].audio': refused('This server reads text only.'),
  'messages[].function_call': refused('Use tool_calls.'),
  'messages[].tools': refused(noTools, []),
}

/** POST /v1/chat/completions. */
export const chatFields: FieldTable = new Map(
  Object.entries({
    ...messageFields,
    ...sharedFields,
    max_completion_tokens: supported('As max_tokens, and wins over it.'),
    logprobs: refused(notYet, false),
    top_logprobs: refused(notYet, 0),
    response_format: refused('Constrained output is not supported yet.', { type: 'text' }),
    tools: refused(noTools, []),
    tool_choice: refused(noTools, 'none', 'auto'),
    parallel_tool_calls: refused(noTools, true, false),
    functions: refused('Deprecated by OpenAI for tools, which are not supported yet.', []),
    function_call: refused('Deprecated by OpenAI for tools.', 'none', 'auto'),
    reasoning_effort: refused('Reasoning cannot be steered yet.', 'medium'),
    verbosity: ignored('The models do not know it.'),
    prediction: ignored('Not used for speed yet.'),
    web_search_options: refused('This server does not reach the web.'),
    moderation: refused('There is no moderation.'),
    ...extensionFields,
    chat_template_kwargs: refused('Template variables cannot be set yet.', {}),
    add_generation_prompt: refused('The answer always starts a new assistant turn.', true),
    continue_final_message: refused('The answer always starts a new assistant turn.', false),
    add_special_tokens: refused('The chat template sets the special tokens.', false),
    documents: refused(notYet, []),
    echo: refused(notYet, false),
    include_reasoning: refused('Reasoning is not split from the answer yet.', true),
    separate_reasoning: refused('Reasoning is not split from the answer yet.', false),
    stream_reasoning: refused('Reasoning is not split from the answer yet.', true),
    reasoning_format: refused('Reasoning is not split from the answer yet.', 'none'),
    thinking_token_budget: refused('Reasoning cannot be steered yet.'),
    prompt: refused('Send messages, or use /v1/completions.'),
  }),
)

/** POST /v1/completions. */
export const completionFields: FieldTable = new Map(
  Object.entries({
    prompt: supported('A string or an array of token ids; one prompt per request.'),
    ...sharedFields,
    logprobs: refused(notYet),
    suffix: refused('Text cannot be filled in before a suffix.', ''),
    echo: refused(notYet, false),
    response_format: refused('Constrained output is not supported yet.', { type: 'text' }),
    ...extensionFields,
    add_special_tokens: refused('Special tokens are added as the tokenizer says.', true),
    max_completion_tokens: refused('Use max_tokens.'),
    messages: refused('Send a prompt, or use /v1/chat/completions.'),
  }),
)
