import { Sequence, type SequenceSpec } from '../../../scheduler/sequence.js'
import { TenantAccount } from '../../../scheduler/tenants.js'

/** A sequence that no scheduler knows: three prompt tokens, three new ones, blocks of 2. */
export function makeSequence(
  id: number,
  fields: Partial<SequenceSpec> = {},
  { blockSize = 2, account = new TenantAccount(fields.tenant ?? 0), arrivedMs = 0 } = {},
): Sequence {
  const spec = {
    id,
    tenant: account.tenant,
    promptTokenIds: Int32Array.of(5, 6, 7),
    maxTokens: 3,
    minTokens: 0,
    stopTokenIds: Int32Array.of(2, 3),
    ignoreStopTokens: false,
    ...fields,
  }
  return new Sequence(spec, blockSize, account, 0, arrivedMs)
}
