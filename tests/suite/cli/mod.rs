//! The program's command line.

mod backend;
mod check;
mod demo;
mod help;
mod probe;
mod run;
