import { assert } from './assert.js'

/** What the scheduler keeps of a tenant while any of its sequences lives. */
export class TenantAccount {
  readonly tenant: number
  numWaiting = 0
  numRunning = 0
  /** Tokens it may have computed before it is another tenant's turn. */
  deficit = 0

  constructor(tenant: number) {
    this.tenant = tenant
  }
}

/**
 * The accounts of all tenants that have sequences, for deficit round robin: a tenant whose turn
 * comes gets a quantum of tokens, and each token that is computed for it is taken off again. The
 * waiting line says whose turn it is.
 *
 * Tokens are only charged while another tenant has sequences: what is computed in a quiet hour costs
 * nobody anything. A debt never exceeds `maxDebt`, and ends with the tenant's last sequence.
 */
export class Tenants {
  readonly #accounts = new Map<number, TenantAccount>()
  readonly #maxDebt: number

  /** `maxDebt`: tokens of one sequence at most. */
  constructor(maxDebt: number) {
    this.#maxDebt = maxDebt
  }

  values(): Iterable<TenantAccount> {
    return this.#accounts.values()
  }

  find(tenant: number): TenantAccount | undefined {
    return this.#accounts.get(tenant)
  }

  /** The account of a tenant, new if it has none. */
  open(tenant: number): TenantAccount {
    let account = this.#accounts.get(tenant)
    if (account === undefined) {
      account = new TenantAccount(tenant)
      this.#accounts.set(tenant, account)
    }
    return account
  }

  /** Forgets the tenant if nothing of it lives any more. */
  closeIfIdle(account: TenantAccount): void {
    if (account.numWaiting + account.numRunning === 0) this.#accounts.delete(account.tenant)
  }

  /**
   * Who has more sequences running than all tenants could have, and most of all; undefined if
   * nobody has. One sequence is never too many.
   */
  findGreediest(numSeats: number): TenantAccount | undefined {
    let greediest: TenantAccount | undefined
    let most = Math.max(1, numSeats / this.#accounts.size)
    for (const account of this.#accounts.values()) {
      if (account.numRunning <= most) continue
      greediest = account
      most = account.numRunning
    }
    return greediest
  }

  /** One more, or with -1 one less, of its sequences waits. */
  countWaiting(account: TenantAccount, change: 1 | -1): void {
    account.numWaiting += change
    // Nobody saves up: a turn is for what waits now.
    if (account.numWaiting === 0) account.deficit = Math.min(account.deficit, 0)
  }

  /** Tokens are computed for a tenant. */
  charge(account: TenantAccount, numTokens: number): void {
    if (this.#accounts.size === 1) return
    account.deficit = Math.max(account.deficit - numTokens, -this.#maxDebt)
  }

  /** Throws unless every account is needed and no deficit is out of its bounds. */
  checkIntegrity(quantum: number): void {
    for (const { tenant, numWaiting, numRunning, deficit } of this.#accounts.values()) {
      assert(
        numWaiting + numRunning > 0,
        'an account is open for a tenant without sequences',
        tenant,
      )
      const isBounded = deficit >= -this.#maxDebt && deficit <= (numWaiting > 0 ? quantum : 0)
      assert(isBounded, 'a deficit is out of its bounds; tenant', tenant)
    }
  }
}
