//! Balas from outside: real processes and sockets, beside stock Redis.
//!
//! Clusters and replication are put through what may happen to them: [`cluster`] and its neighbours. Commands go
//! to both servers, the same replies expected:
//!
//! ```text
//!  generate ─▶ Step: a command, and how its replies compare
//!                 │
//!        ┌────────┴────────┐
//!      stock             balas        each a process on a port of its own, in a folder of its own
//!        └────────┬────────┘
//!              compare ─▶ equal, equal but for the order, equal within a tolerance,
//!                         or, of commands that draw lots, members of what is there
//! ```
//!
//! | variable | what |
//! |---|---|
//! | `BALAS_BIN` | the server to test; otherwise it is built |
//! | `REDIS_BIN` | stock's server; otherwise `redis-server` of the path |
//! | `BALAS_DIFF_COMMANDS` | commands of the four differential runs together, 100,000 by default |
//! | `BALAS_DIFF_SEED` | which other seeds the runs have |
//! | `BALAS_FUZZ_INPUTS`, `BALAS_FUZZ_SEED` | inputs of each entry of the fuzzers, and where they begin |
//! | `BALAS_MODEL_PREEMPTIONS` | how often the threads of `tests/models` are interrupted in one order, 3 by default; `all` for no bound |
//! | `BALAS_PYTHON` | a Python with the packages of `tests/clients/requirements.txt`; otherwise the one of the path |
//! | `BALAS_NODE_MODULES` | the packages of `tests/clients/package.json`; without it nothing is run by Node.js |
//! | `BALAS_STRESS_SECONDS`, `BALAS_STRESS_SEED` | how long the stress goes on, and what is drawn |
//! | `BALAS_WATCH_SECONDS` | how long a mixed cluster is watched for stability |

pub mod cluster;
pub mod cluster_data;
pub mod cluster_load;
pub mod cluster_proxy;
pub mod compare;
pub mod differential;
pub mod generate;
pub mod known;
pub mod languages;
pub mod mutate;
pub mod process;
pub mod resp;
pub mod scenario;
pub mod stored;
