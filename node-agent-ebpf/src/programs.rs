//! The programs, one hook family per file.

mod cgroup;
mod connect;
mod open;
mod process;
mod seed;
