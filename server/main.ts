#!/usr/bin/env node
import process from 'node:process'
import { runCli } from './cli.js'

const outcome = await runCli(process.argv.slice(2), {
  out: process.stdout,
  err: process.stderr,
  env: process.env,
})
// A server that could not start may hold a port or a process: nothing of it shall linger.
if (outcome !== 'serving') process.exit(outcome)
