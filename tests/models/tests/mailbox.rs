//! Mail from several threads to one that sleeps on its sockets.

use balas_models::mailbox::Mailbox;
use balas_models::sync::{Arc, Poll};
use balas_models::{Seen, check};
use loom::thread;

/// A sender, and the number of its letter. Every sender's last is [`LAST`].
type Letter = (char, u8);

const LAST: u8 = 2;

fn mailbox() -> (Arc<Mailbox<Letter>>, Poll) {
    let poll = Poll::default();
    (Arc::new(Mailbox::new(poll.waker())), poll)
}

fn start_sender(mailbox: &Arc<Mailbox<Letter>>, sender: char, first: u8) -> thread::JoinHandle<()> {
    let mailbox = mailbox.clone();
    thread::spawn(move || (first..=LAST).for_each(|number| mailbox.post((sender, number))))
}

/// The loop of an IO thread, until it has the last letters of so many senders. Who is not woken waits forever, and loom
/// reports that; who is woken more than once a sleep has senders that waste system calls.
fn read_until_last(mailbox: &Mailbox<Letter>, poll: &Poll, senders: usize) -> Vec<Letter> {
    let (mut read, mut mail, mut waits) = (Vec::new(), Vec::new(), 0);
    while read.iter().filter(|(_, number)| *number == LAST).count() < senders {
        if mailbox.wait(|may_sleep| Ok(poll.poll(may_sleep))).expect("this poll does not fail") {
            mailbox.take(&mut mail);
            read.append(&mut mail);
        }
        waits += 1;
    }
    // Once it can be before the owner waits for the first time.
    assert!(poll.wakes() <= waits + 1, "{} wake-ups in {waits} waits", poll.wakes());
    read
}

/// What a sender's letters were numbered, in the order in which they came.
fn numbers(letters: &[Letter], sender: char) -> Vec<u8> {
    letters.iter().filter(|(from, _)| *from == sender).map(|(_, number)| *number).collect()
}

#[test]
fn every_letter_arrives_once_and_in_its_senders_order() {
    let (a_first, b_first) = (Seen::default(), Seen::default());
    let seen = (a_first.clone(), b_first.clone());
    check(move || {
        let (mailbox, poll) = mailbox();
        let senders = [start_sender(&mailbox, 'a', 1), start_sender(&mailbox, 'b', LAST)];
        let read = read_until_last(&mailbox, &poll, senders.len());
        assert_eq!((numbers(&read, 'a'), numbers(&read, 'b')), (vec![1, LAST], vec![LAST]));
        if read[0].0 == 'a' {
            seen.0.note()
        } else {
            seen.1.note()
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
    assert!(a_first.is_any() && b_first.is_any());
}

/// Then the owner does not look for mail, and works while letters come.
#[test]
fn an_owner_woken_by_its_socket_still_gets_its_mail() {
    check(|| {
        let (mailbox, poll) = mailbox();
        let sender = start_sender(&mailbox, 'a', 1);
        let client = poll.clone();
        let client = thread::spawn(move || client.socket_ready());
        let read = read_until_last(&mailbox, &poll, 1);
        assert_eq!(read, [('a', 1), ('a', LAST)]);
        sender.join().unwrap();
        client.join().unwrap();
    });
}

/// As new connections are taken out, when a slow script keeps the owner from its mail.
#[test]
fn what_is_taken_out_by_another_is_neither_lost_nor_doubled() {
    let (taken_out, left) = (Seen::default(), Seen::default());
    let seen = (taken_out.clone(), left.clone());
    check(move || {
        let (mailbox, poll) = mailbox();
        let sender = start_sender(&mailbox, 'a', 1);
        let other = mailbox.clone();
        let other = thread::spawn(move || other.take_where(|(_, number)| *number == 1));
        let read = read_until_last(&mailbox, &poll, 1);
        sender.join().unwrap();
        match other.join().unwrap().as_slice() {
            [] => {
                assert_eq!(read, [('a', 1), ('a', LAST)]);
                seen.1.note();
            }
            taken => {
                assert_eq!((taken, &read[..]), (&[('a', 1)][..], &[('a', LAST)][..]));
                seen.0.note();
            }
        }
    });
    assert!(taken_out.is_any() && left.is_any());
}
