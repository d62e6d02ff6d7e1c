//! A flood of queries with DO for random names: the number of their signatures is limited, and links are answered.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::wire::{DO, SIZE, ask, query, sets, wire};
use super::{Plan, Signed, TXT, WAYS};
use crate::differential::message::{Reply, TC};

/// The number of links that are queried during the flood, each for the first time.
const LINKS: usize = 40;
/// The longest time of the flood. It ends with the last of these links.
const LONGEST: Duration = Duration::from_secs(20);

/// Sends queries from several networks until `stop` is set. Returns the number of complete and of truncated replies.
fn flood(signed: &Signed, is_over: &AtomicBool) -> (usize, usize) {
    let sockets: Vec<_> = (1..=8)
        .map(|net| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 88, net, 1), 0)).unwrap();
            socket.connect(signed.server.dns).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();
    let (mut whole, mut cut) = (0, 0);
    let began = Instant::now();
    let mut names = 0_u32..;
    while !is_over.load(Ordering::Relaxed) && began.elapsed() < LONGEST {
        for (socket, number) in sockets.iter().zip(&mut names) {
            let name = wire(&format!("random{number}.s.example.com."));
            let _ = socket.send(&query(&name, TXT, SIZE, DO));
            let mut buffer = [0; 1_500];
            while let Ok(length) = socket.recv(&mut buffer) {
                let reply = Reply::read(buffer[..length].to_vec()).unwrap();
                match reply.has(TC) {
                    true => cut += 1,
                    false => whole += 1,
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    (whole, cut)
}

#[test]
fn random_names_have_so_many_signatures_and_links_theirs() {
    let signed = Signed::with(&Plan {
        sections: "[signatures]\nmade_up_per_second = 20\nmade_up_per_client = 10\n",
        ..Plan::new(WAYS[0])
    });
    let target = |n: usize| format!("https://example.net/{n}");
    for n in 0..LINKS {
        signed.server.register(&format!("link{n}"), &target(n));
    }
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let (whole, cut) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&signed, &is_over));
        for n in 0..LINKS {
            let reply = ask(
                signed.server.dns,
                &format!("link{n}.s.example.com."),
                TXT,
                DO,
            );
            let (found, signatures) = sets(&reply.answer);
            assert!(
                !reply.has(TC) && found == signatures && found.len() == 2,
                "{reply}"
            );
            std::thread::sleep(Duration::from_millis(25));
        }
        is_over.store(true, Ordering::Relaxed);
        flood.join().unwrap()
    });
    let seconds = began.elapsed().as_secs() as usize + 1;
    assert!(
        whole > 0 && whole <= 20 * (seconds + 1),
        "{whole} in {seconds} s"
    );
    assert!(cut > whole, "{cut}");
    let refused = signed
        .server
        .metric("tinyns_dnssec_signatures_refused_total", &[]);
    assert!(refused >= cut as f64, "{refused}");
    // The server does not limit TCP, because the address of a TCP client is not forged.
    let query = query(&wire("by-tcp.s.example.com."), TXT, SIZE, DO);
    let reply = Reply::read(signed.server.tcp(&query)).unwrap();
    assert!(!reply.has(TC) && reply.rcode == 0, "{reply}");
    assert_eq!(sets(&reply.authority).1.len(), 2);
}
