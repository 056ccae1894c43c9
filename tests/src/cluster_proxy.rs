//! A link that can be cut: a TCP proxy between a replica and its master.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    /// Both ends of every connection that was made.
    open: Mutex<Vec<TcpStream>>,
}

pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Listens on a port of its own and connects whoever comes with `target`.
    pub fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // But what if the target is gone? Then whoever came is sent away, as by the target itself.
                let _ = connect(&shared, stream, target);
            }
        });
        Proxy { port, state }
    }

    /// Breaks every connection; until [`Proxy::heal`], new ones are broken at once.
    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn heal(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.state.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn connect(state: &State, near: TcpStream, target: u16) -> io::Result<()> {
    let far = TcpStream::connect(("127.0.0.1", target))?;
    let mut open = state.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Looked at with the list locked: who is cut now is not added behind the cut's back.
    if state.is_cut.load(Ordering::SeqCst) {
        return Ok(());
    }
    for (from, to) in [(&near, &far), (&far, &near)] {
        from.set_nodelay(true)?;
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || pump(from, to));
    }
    open.extend([near, far]);
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buf = [0; 16 * 1024];
    while let Ok(n) = from.read(&mut buf) {
        if n == 0 || to.write_all(&buf[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
