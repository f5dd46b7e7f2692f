import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { within } from '../broker.js';
import { address, DEADLINE_MS, drain, eventually, publishAll, World } from '../support.js';

const holder = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'holder.js');

test('an idle connection lives on heartbeats', async (t) => {
  const world = await World.open(t, { heartbeat: 1 });
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  let failed = false;
  world.connection.once('error', () => {
    failed = true;
  });
  // The idle pause is the subject: longer than three intervals, after which either side would give up.
  await pause(3_500);
  assert.equal(failed, false);
  await publishAll(channel, '', queue, ['still connected']);
  assert.deepEqual(await drain(channel, queue), ['still connected']);
});

test('a client that falls silent is dropped and its messages return', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  await publishAll(channel, '', queue, ['held']);
  const child = spawn(process.execPath, [holder, JSON.stringify(address({ heartbeat: 1 })), queue], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  await within(DEADLINE_MS, new Promise((resolve) => child.stdout.once('data', resolve)), 'the other client to hold the message');
  assert.equal((await channel.checkQueue(queue)).messageCount, 0);
  child.kill('SIGSTOP');
  await eventually(async () => (await channel.checkQueue(queue)).messageCount === 1, 'the broker to drop the silent client');
  const message = await channel.get(queue, { noAck: true });
  assert.equal(message.fields.redelivered, true);
});
