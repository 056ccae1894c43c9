#![allow(dead_code, reason = "each test file uses a part")]

pub mod content;
pub mod stock;
