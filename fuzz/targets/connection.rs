#![no_main]
leveret_fuzz::target!("connection");
