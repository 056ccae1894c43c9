//! Mail from several threads to one that sleeps on its sockets.

use balas_models::mailbox::Mailbox;
use balas_models::sync::{Arc, Poll};
use balas_models::{Seen, check};
use loom::thread;

/// A sender, and the number of its letter. Every sender's last is the second.
type Letter = (char, u8);

fn mailbox() -> (Arc<Mailbox<Letter>>, Poll) {
    let poll = Poll::default();
    (Arc::new(Mailbox::new(poll.waker())), poll)
}

fn start_sender(mailbox: &Arc<Mailbox<Letter>>, sender: char) -> thread::JoinHandle<()> {
    let mailbox = mailbox.clone();
    thread::spawn(move || {
        mailbox.post((sender, 1));
        mailbox.post((sender, 2));
    })
}

/// The loop of an IO thread, until it has the last letters of so many senders. Who is not woken waits forever, and loom
/// reports that.
fn read_until_last(mailbox: &Mailbox<Letter>, poll: &Poll, senders: usize) -> Vec<Letter> {
    let (mut read, mut mail) = (Vec::new(), Vec::new());
    while read.iter().filter(|(_, number)| *number == 2).count() < senders {
        if mailbox.wait(|may_sleep| Ok(poll.poll(may_sleep))).expect("this poll does not fail") {
            mailbox.take(&mut mail);
            read.append(&mut mail);
        }
    }
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
        let senders = ['a', 'b'].map(|sender| start_sender(&mailbox, sender));
        let read = read_until_last(&mailbox, &poll, senders.len());
        assert_eq!((numbers(&read, 'a'), numbers(&read, 'b')), (vec![1, 2], vec![1, 2]));
        if read[0].0 == 'a' { seen.0.note() } else { seen.1.note() }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
    assert!(a_first.is_any() && b_first.is_any());
}

/// Then the owner does not look for mail, and works while letters come.
#[test]
fn an_owner_woken_by_its_socket_still_gets_its_mail() {
    check(|| {
        let (mailbox, poll) = mailbox();
        let sender = start_sender(&mailbox, 'a');
        let client = poll.clone();
        let client = thread::spawn(move || client.socket_ready());
        let read = read_until_last(&mailbox, &poll, 1);
        assert_eq!(read, [('a', 1), ('a', 2)]);
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
        let sender = start_sender(&mailbox, 'a');
        let other = mailbox.clone();
        let other = thread::spawn(move || other.take_where(|(_, number)| *number == 1));
        let read = read_until_last(&mailbox, &poll, 1);
        sender.join().unwrap();
        match other.join().unwrap().as_slice() {
            [] => {
                assert_eq!(read, [('a', 1), ('a', 2)]);
                seen.1.note();
            }
            taken => {
                assert_eq!((taken, &read[..]), (&[('a', 1)][..], &[('a', 2)][..]));
                seen.0.note();
            }
        }
    });
    assert!(taken_out.is_any() && left.is_any());
}
