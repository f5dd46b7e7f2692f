// The callback face of amqplib: the same wire, another control flow. Each step is the callback of the one before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import amqp from 'amqplib/callback_api';
import { address, assertRefusal } from '../support.js';

let named = 0;

/** Connects, opens a channel, hands both and a fresh queue name over, and closes when `finish` is called. */
function withChannel(t, done, body, { confirm = false, options = {} } = {}) {
  amqp.connect(address(options), (error, connection) => {
    if (error) return done(error);
    const finish = (outcome) => {
      connection.removeAllListeners('error');
      connection.on('error', () => {});
      connection.close(() => done(outcome));
    };
    const check = (step) => (failed, value) => {
      if (failed) return finish(failed);
      try {
        return step(value);
      } catch (thrown) {
        return finish(thrown);
      }
    };
    connection.on('error', finish);
    named += 1;
    const name = `node-cb-${process.pid}-${named}`;
    const open = check((channel) => body({ connection, channel, name, finish, check }));
    if (confirm) connection.createConfirmChannel(open);
    else connection.createChannel(open);
  });
}

test('callbacks: a message goes through an exchange to a queue and back by get', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, name, finish, check }) => {
    channel.assertExchange(name, 'topic', { durable: false, autoDelete: true }, check(() => {
      channel.assertQueue(name, { exclusive: true }, check(() => {
        channel.bindQueue(name, name, 'a.#', {}, check(() => {
          channel.publish(name, 'a.b.c', Buffer.from('hello'), { messageId: 'one' });
          channel.get(name, { noAck: true }, check((message) => {
            assert.equal(message.content.toString(), 'hello');
            assert.equal(message.properties.messageId, 'one');
            assert.equal(message.fields.routingKey, 'a.b.c');
            channel.get(name, {}, check((empty) => {
              assert.equal(empty, false);
              finish();
            }));
          }));
        }));
      }));
    }));
  });
});

test('callbacks: exchanges bind to exchanges', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, name, finish, check }) => {
    const source = `${name}-source`;
    channel.assertExchange(source, 'direct', { durable: false, autoDelete: true }, check(() => {
      channel.assertExchange(name, 'fanout', { durable: false, autoDelete: true }, check(() => {
        channel.assertQueue(name, { exclusive: true }, check(() => {
          channel.bindQueue(name, name, '', {}, check(() => {
            channel.bindExchange(name, source, 'k', {}, check(() => {
              channel.publish(source, 'k', Buffer.from('through two'));
              channel.get(name, { noAck: true }, check((message) => {
                assert.equal(message.content.toString(), 'through two');
                finish();
              }));
            }));
          }));
        }));
      }));
    }));
  });
});

test('callbacks: each publish has its confirm', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, name, finish, check }) => {
    channel.assertQueue(name, { exclusive: true }, check(() => {
      let confirmed = 0;
      for (let i = 0; i < 200; i += 1) {
        channel.sendToQueue(name, Buffer.from(String(i)), { persistent: true }, check(() => {
          confirmed += 1;
        }));
      }
      channel.waitForConfirms(check(() => {
        assert.equal(confirmed, 200);
        channel.checkQueue(name, check((state) => {
          assert.equal(state.messageCount, 200);
          finish();
        }));
      }));
    }));
  }, { confirm: true });
});

test('callbacks: an unroutable mandatory message is returned', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, name, finish }) => {
    channel.on('return', (message) => {
      assert.equal(message.fields.replyCode, 312);
      assert.equal(message.fields.replyText, 'NO_ROUTE');
      assert.equal(message.content.toString(), 'back');
      finish();
    });
    channel.publish('amq.direct', name, Buffer.from('back'), { mandatory: true });
  });
});

test('callbacks: consume, requeue once, ack, cancel', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, name, finish, check }) => {
    channel.assertQueue(name, { exclusive: true }, check(() => {
      channel.prefetch(1, false, check(() => {
        const flags = [];
        channel.consume(name, (message) => {
          flags.push(message.fields.redelivered);
          if (flags.length === 1) return channel.nack(message, false, true);
          channel.ack(message);
          return channel.cancel('once', check(() => {
            assert.deepEqual(flags, [false, true]);
            channel.checkQueue(name, check((state) => {
              assert.deepEqual([state.messageCount, state.consumerCount], [0, 0]);
              finish();
            }));
          }));
        }, { consumerTag: 'once' }, check(() => channel.sendToQueue(name, Buffer.from('twice'))));
      }));
    }));
  });
});

test('callbacks: the consumer of a deleted queue hears null', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, name, finish, check }) => {
    channel.assertQueue(name, { durable: false }, check(() => {
      channel.consume(name, (message) => {
        assert.equal(message, null);
        finish();
      }, {}, check(() => channel.deleteQueue(name, {}, check(() => {}))));
    }));
  });
});

test('callbacks: RPC with a server-named reply queue', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, name, finish, check }) => {
    const serve = (request) => {
      const { replyTo, correlationId } = request.properties;
      channel.sendToQueue(replyTo, Buffer.from(`${request.content}!`), { correlationId });
      channel.ack(request);
    };
    channel.assertQueue(name, { exclusive: true }, check(() => {
      channel.consume(name, serve, {}, check(() => {
        channel.assertQueue('', { exclusive: true }, check(({ queue }) => {
          channel.consume(queue, (answer) => {
            assert.equal(answer.content.toString(), 'hello!');
            assert.equal(answer.properties.correlationId, 'c-1');
            finish();
          }, { noAck: true }, check(() => {
            channel.sendToQueue(name, Buffer.from('hello'), { replyTo: queue, correlationId: 'c-1' });
          }));
        }));
      }));
    }));
  });
});

test('callbacks: 404 arrives in the callback and leaves the connection usable', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ connection, channel, name, finish, check }) => {
    channel.on('error', () => {});
    channel.checkQueue(name, (error) => {
      assertRefusal(error, 404, `NOT_FOUND - no queue '${name}' in vhost '/'`, [50, 10]);
      connection.createChannel(check((second) => second.checkExchange('amq.topic', check(() => finish()))));
    });
  });
});

test('callbacks: 406 arrives as the error of the channel', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, finish }) => {
    channel.on('error', (error) => {
      assertRefusal(error, 406, 'PRECONDITION_FAILED - unknown delivery tag 99', [60, 80]);
      finish();
    });
    channel.ack({ fields: { deliveryTag: 99 } });
  });
});

test('callbacks: 405 names the locked queue', { timeout: 10_000 }, (t, done) => {
  withChannel(t, done, ({ channel, name, finish: finishFirst, check: checkFirst }) => {
    channel.assertQueue(name, { exclusive: true }, checkFirst(() => {
      withChannel(t, finishFirst, ({ channel: other, finish }) => {
        other.on('error', (error) => {
          assertRefusal(error, 405, `RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${name}'`, [50, 10]);
        });
        // Closing the connection inside the refused call would cut off amqplib's own close-ok.
        other.on('close', () => finish());
        other.checkQueue(name, () => {});
      });
    }));
  });
});

test('callbacks: 403 and 530 come as the error of connect', { timeout: 10_000 }, (t, done) => {
  amqp.connect(address({ password: 'wrong' }), (error) => {
    assert.match(error.message, /403 .*ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN/);
    amqp.connect(address({ vhost: 'nowhere' }), (refused) => {
      assert.match(refused.message, /ConnectionClose/);
      done();
    });
  });
});

test('callbacks: nested headers and a body of several frames survive', { timeout: 10_000 }, (t, done) => {
  const headers = { table: { list: [1, 'two', { three: null }], yes: true }, big: 9_007_199_254_740_991 };
  const body = Buffer.alloc(400_000, 'leveret');
  withChannel(t, done, ({ channel, name, finish, check }) => {
    channel.assertQueue(name, { exclusive: true }, check(() => {
      channel.sendToQueue(name, body, { headers });
      channel.get(name, { noAck: true }, check((message) => {
        assert.ok(message.content.equals(body));
        assert.deepEqual(message.properties.headers, headers);
        finish();
      }));
    }));
  });
});
