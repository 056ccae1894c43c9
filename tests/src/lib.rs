//! Balas from outside: real processes, real sockets, beside stock Redis.
//!
//! | variable | what |
//! |---|---|
//! | `BALAS_BIN` | the server to test; otherwise it is built |
//! | `REDIS_BIN` | stock's server; otherwise `redis-server` of the path |
//! | `BALAS_WATCH_SECONDS` | how long a mixed cluster is watched for stability |

pub mod cluster;
pub mod cluster_data;
pub mod cluster_load;
pub mod cluster_proxy;
pub mod process;
pub mod resp;
