import { createHmac, randomBytes } from 'node:crypto'

/** New with every process: nobody can work out which salt a number in a log stands for. */
const secret = randomBytes(32)

/**
 * The tenant behind a cache_salt: requests with the same salt share their prefixes, others cannot
 * even learn whether a prefix is cached. 1 to 2^52; 0 is for requests without a salt.
 */
export function tenantOf(cacheSalt: string): number {
  const digest = createHmac('sha256', secret).update(cacheSalt).digest()
  return 1 + Number(digest.readBigUInt64LE() >> 12n)
}
