// Starts the shared broker, runs every test file in a process of its own, and counts the tests one by one.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Broker, isExternal } from './broker.js';

const TEST_DEADLINE_MS = 60_000;
const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'test');
const wanted = process.argv.slice(2);
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  .map((name) => path.join(folder, name));

const broker = isExternal ? null : await startShared();
const counts = { passed: 0, failed: 0, skipped: 0 };

const results = run({ files, concurrency: 2, timeout: TEST_DEADLINE_MS });
results.on('test:pass', (test) => {
  if (isContainer(test)) return;
  if (test.skip) {
    counts.skipped += 1;
    console.log(`skip ${test.name}: ${test.skip}`);
  } else {
    counts.passed += 1;
    console.log(`ok   ${test.name} (${Math.round(test.details.duration_ms)} ms)`);
  }
});
results.on('test:fail', (test) => {
  if (isContainer(test) && test.details.error?.failureType === 'subtestsFailed') return;
  counts.failed += 1;
  const cause = test.details.error?.cause ?? test.details.error;
  console.log(`FAIL ${test.name}\n     ${String(cause?.stack ?? cause).split('\n').join('\n     ')}`);
});
results.on('test:stderr', ({ message }) => process.stderr.write(message));
results.on('end', finish);
results.resume();

async function startShared() {
  try {
    return await new Broker(0).start();
  } catch (error) {
    console.log(`FAIL the broker starts: ${error.message}`);
    console.log('0 passed, 1 failed');
    process.exit(1);
  }
}

/** A file is reported like a test; only what it holds counts, unless the file itself broke. */
function isContainer(test) {
  return test.details.type === 'suite' || files.includes(test.name) || files.includes(path.resolve(test.name));
}

async function finish() {
  if (broker) {
    counts.failed += await stopCleanly();
  }
  if (counts.passed === 0 && counts.failed === 0) counts.failed = 1;
  if (counts.skipped > 0) console.log(`${counts.skipped} skipped: they need a broker of their own`);
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exitCode = counts.failed === 0 ? 0 : 1;
}

/** The shared broker has served every test and must still end well; 1 if it does not. */
async function stopCleanly() {
  try {
    const { code, signal } = await broker.stop();
    if (code === 0) {
      counts.passed += 1;
      console.log('ok   the broker stops cleanly after all tests');
      return 0;
    }
    console.log(`FAIL the broker stops cleanly after all tests: ended with ${code ?? signal}`);
  } catch (error) {
    console.log(`FAIL the broker stops cleanly after all tests: ${error.message}`);
  }
  return 1;
}
