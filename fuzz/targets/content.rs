#![no_main]
leveret_fuzz::target!("content");
