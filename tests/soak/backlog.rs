//! A consumer that is slow for three quarters of each cycle, so that its queue goes to disk, and then drains it.

use std::io;
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::consumer::{Consumer, Post};
use crate::scene::Scene;

/// What it takes its time for.
const PAUSE: Duration = Duration::from_millis(100);
const SLOW: Post = Post::at(&["backlog"], 5);
const FAST: Post = Post::at(&["backlog"], 300);

pub fn work(scene: &Scene) {
    scene.keep_working(
        "the slow consumer",
        || scene.is_going_on(),
        |client, life| {
            if is_draining(scene) {
                let mut consumer = Consumer::new(scene, client, life, FAST)?;
                consumer.take_while(|| scene.is_going_on() && is_draining(scene))
            } else {
                dawdle(scene, client, life)
            }
        },
    );
}

fn is_draining(scene: &Scene) -> bool {
    let phase = (scene.begin.elapsed().as_secs_f64() / scene.cycle.as_secs_f64()).fract();
    phase > 0.75 || !scene.is_publishing()
}

fn dawdle(scene: &Scene, client: Client, life: u32) -> io::Result<()> {
    let mut consumer = Consumer::new(scene, client, life, SLOW)?;
    while scene.is_going_on() && !is_draining(scene) {
        consumer.take(PAUSE)?;
        consumer.ack_later()?;
        thread::park_timeout(PAUSE);
    }
    Ok(())
}
