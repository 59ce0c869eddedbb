// One journey through the portal in Chromium: `node tests/browser/run.mjs NAME JSON`, where JSON holds
// `base`, `username`, `password` and what the journey needs. Prints JSON lines; the last is
// `{"result": …}`. Exit code 1 when the journey could not be made.
// @ts-check
import { journeys } from './journeys.mjs'

const [name = '', given = '{}'] = process.argv.slice(2)
const journey = journeys[name]
if (!journey) {
  console.error(`no journey ${name}; there are ${Object.keys(journeys).join(', ')}`)
  process.exit(1)
}
/** @param {unknown} line */
const say = (line) => console.log(JSON.stringify(line))
say({ result: await journey(JSON.parse(given), say) })
