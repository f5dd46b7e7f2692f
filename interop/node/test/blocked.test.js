// connection.blocked: publishers wait while the disk is short of space, and consumers do not.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Broker, isExternal, within } from '../broker.js';
import { DEADLINE_MS, eventually, Inbox, texts, World } from '../support.js';

const OFFSET = 2;
const skip = isExternal && 'the limits of the broker are not ours to set';

/** A broker whose limit on the disk can be set while it runs. */
class LimitedBroker extends Broker {
  constructor() {
    const file = path.join(process.env.INTEROP_DIR, 'blocked.toml');
    super(OFFSET, { INTEROP_CONFIG: file });
    this.file = file;
    this.limit('1 MB');
  }

  limit(freeSpace) {
    const usual = readFileSync(new URL('../../leveret.toml', import.meta.url), 'utf8');
    writeFileSync(this.file, `${usual}\n[limits]\ndisk_free_limit = "${freeSpace}"\n`);
    if (this.child) this.reload();
  }
}

/** What the connection hears of blocking. */
function heard(connection) {
  const words = [];
  connection.on('blocked', (reason) => words.push(reason));
  connection.on('unblocked', () => words.push('unblocked'));
  return words;
}

test('publishers wait while space is short and consumers do not', { skip }, async (t) => {
  const broker = await new LimitedBroker().start();
  t.after(() => broker.kill());
  const world = await World.open(t, { broker });
  const bystander = await world.connect();
  const said = heard(world.connection);
  const saidToBystander = heard(bystander);
  const publisher = await world.confirmChannel();
  const consumer = await world.channel(bystander);
  const { queue } = await consumer.assertQueue('work', { durable: false });
  let published = 0;
  const publish = () => {
    publisher.publish('', queue, Buffer.from(String(published)));
    published += 1;
  };
  broker.limit('1 EB');
  await eventually(async () => {
    if (said.length === 0) publish();
    return said.length > 0;
  }, 'the alarm');
  for (let more = 0; more < 10; more += 1) publish();
  let areConfirmed = false;
  const confirms = publisher.waitForConfirms().then(() => (areConfirmed = true));
  const inbox = await Inbox.open(consumer, queue, { noAck: true });
  const first = await inbox.next('what came before the alarm');
  assert.equal((await consumer.checkQueue(queue)).messageCount, 0);
  assert.deepEqual([said, saidToBystander, areConfirmed], [['low on disk'], [], false]);

  broker.limit('1 MB');
  await within(DEADLINE_MS, confirms, 'the confirms');
  assert.deepEqual([said, saidToBystander], [['low on disk', 'unblocked'], []]);
  const all = texts([first, ...(await inbox.take(published - 1))]);
  assert.deepEqual(all, Array.from({ length: published }, (_, number) => String(number)));
});
