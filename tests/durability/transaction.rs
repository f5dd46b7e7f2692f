//! A worker whose transactions take from one queue and publish to several.

use std::io;

use amq_protocol::protocol::{AMQPClass, tx};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::books::{Commit, Id, QUEUES, Record, TX_IN, TX_OUT, Transaction};
use crate::client::Client;
use crate::load::{Shift, expect_loss};

pub struct Worker<'a> {
    shift: Shift<'a>,
    log: Vec<Record>,
    transactions: Vec<Transaction>,
}

impl<'a> Worker<'a> {
    pub fn new(shift: Shift<'a>) -> Self {
        Self {
            shift,
            log: Vec::new(),
            transactions: Vec::new(),
        }
    }

    pub fn work(mut self) -> (Vec<Record>, Vec<Transaction>) {
        expect_loss(&self.transact_on());
        (self.log, self.transactions)
    }

    fn transact_on(&mut self) -> io::Result<()> {
        let mut random = StdRng::seed_from_u64(self.shift.seed);
        let mut client = Client::connect(self.shift.address)?;
        client.call(AMQPClass::Tx(tx::AMQPMethod::Select(tx::Select {})))?;
        let mut number = 0;
        loop {
            let Some(delivery) = client.get(QUEUES[TX_IN])? else {
                continue;
            };
            let taken = Id::of(&delivery.body);
            let redelivered = delivery.redelivered;
            self.log.push(Record::Delivered {
                queue: TX_IN,
                id: taken,
                redelivered,
            });
            self.shift.fuse.burn();
            let rolls_back = random.random_bool(0.2);
            let attempts = if rolls_back { 2 } else { 1 };
            for attempt in 1..=attempts {
                number += 1;
                let id = Id::new(self.shift.round, self.shift.worker, number);
                self.begin(&mut client, id, taken, delivery.tag);
                let transaction = self.transactions.last_mut().expect("it was just begun");
                if attempt < attempts {
                    client.call(AMQPClass::Tx(tx::AMQPMethod::Rollback(tx::Rollback {})))?;
                } else {
                    transaction.commit = Commit::Sent;
                    client.call(AMQPClass::Tx(tx::AMQPMethod::Commit(tx::Commit {})))?;
                    transaction.commit = Commit::Done;
                }
            }
        }
    }

    fn begin(&mut self, client: &mut Client, id: Id, taken: Id, tag: u64) {
        self.transactions.push(Transaction {
            id,
            taken,
            commit: Commit::Never,
        });
        self.log.push(Record::Published {
            id,
            queues: TX_OUT.to_vec(),
            is_persistent: true,
        });
        for queue in TX_OUT {
            client.publish("", QUEUES[queue], true, &id.body(50));
        }
        client.ack(tag, false);
    }
}
