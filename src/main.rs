//! The program `imotriz-kafka`: parse, dispatch, exit.

fn main() {}
