import t from 'tap'
import {
  MAX_LOOP_LEN,
  MAX_RENDER_DEPTH,
  MAX_RENDER_STEPS,
  RenderFence,
} from '../../../engine/text/render-fence.js'

const limit = (message: RegExp) => ({ name: 'RenderLimitError', message })

t.test('steps', async (t) => {
  const fence = new RenderFence(0)
  for (let i = 0; i < MAX_RENDER_STEPS; i++) {
    fence.enter()
    fence.leave()
  }
  t.throws(() => fence.enter(), limit(/more than 100000 steps/))
})

t.test('depth', async (t) => {
  const fence = new RenderFence(0)
  for (let i = 0; i < MAX_RENDER_DEPTH; i++) fence.enter()
  t.throws(() => fence.enter(), limit(/more than 64 levels/))
})

t.test('sizes grow with the input: 4 times and 64 KiB', async (t) => {
  const fence = new RenderFence(1000)
  t.equal(fence.maxOutputLen, 69_536)
  fence.chargeText(69_536)
  t.throws(() => fence.chargeText(69_537), limit(/more than 69536 characters/))
})

t.test('volume: many copies, many items', async (t) => {
  const fence = new RenderFence(0)
  for (let i = 0; i < 64; i++) fence.chargeText(65_536)
  t.throws(() => fence.chargeText(1), limit(/copies more than 4194304/))
  t.throws(() => new RenderFence(0).chargeItems(131_073), limit(/copies more than/))
})

t.test('loops count before they start', async (t) => {
  const fence = new RenderFence(0)
  t.throws(() => fence.enterLoop(MAX_LOOP_LEN + 1), limit(/over 10001 items/))
  for (let i = 0; i < 3; i++) fence.enterLoop(MAX_LOOP_LEN)
  t.throws(() => fence.enterLoop(MAX_LOOP_LEN), limit(/steps/))
})
