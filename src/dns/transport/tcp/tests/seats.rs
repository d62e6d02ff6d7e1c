//! Which connections get a seat, and which leave.

use std::net::Ipv6Addr;

use tokio::time::sleep;

use super::*;

/// An address of a client of its own.
fn other(number: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, number).into()
}

fn limits(connections: u32, connections_per_client: u32) -> TcpLimits {
    TcpLimits {
        connections,
        connections_per_client,
        ..TcpLimits::default()
    }
}

/// A client of this address, its connection, and a moment in which no other one comes.
async fn come(rig: &Rig, client: IpAddr) -> Result<(Client, JoinHandle<End>), TcpCloseReason> {
    sleep(Duration::from_millis(10)).await;
    let (near, far) = duplex(WIDE);
    let task = rig.serve(far, client)?;
    sleep(Duration::from_millis(10)).await;
    Ok((Client(near), task))
}

#[tokio::test(start_paused = true)]
async fn rfc9210_4_2_the_longest_idle_connection_is_closed_for_a_new_one() {
    let rig = Rig::with(limits(3, 3));
    let mut seated = Vec::new();
    for number in 0..3 {
        seated.push(come(&rig, other(number)).await.unwrap());
    }
    // The first has a waiting query, and the second sent last: the third has been at rest the longest.
    seated[0].0.send(&query(1, "w1000")).await;
    sleep(Duration::from_millis(10)).await;
    seated[1].0.send(&query(1, "ns")).await;
    assert_eq!(seated[1].0.next_reply().await, Some((1, 0)));
    let fourth = come(&rig, other(9)).await.unwrap();
    let (mut client, task) = seated.pop().unwrap();
    assert_eq!(client.reply().await, None);
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::Limit);
    assert_eq!(rig.metrics.dns_tcp_connections.get(), 3);
    // Then the second, and then the fourth itself.
    let fifth = come(&rig, other(9)).await.unwrap();
    let (_, task) = seated.pop().unwrap();
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::Limit);
    let sixth = come(&rig, other(9)).await.unwrap();
    assert_eq!(fourth.1.await.unwrap().reason, TcpCloseReason::Limit);
    assert_eq!(seated[0].0.next_reply().await, Some((1, 0)));
    drop((fifth, sixth));
    assert_eq!(rig.metrics.dns_tcp_accepted.get(), 6);
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_at_rest_the_new_one_is_refused() {
    let rig = Rig::with(limits(2, 2));
    let mut seated = Vec::new();
    for number in 0..2 {
        let (mut client, task) = come(&rig, other(number)).await.unwrap();
        client.send(&query(1, "w1000")).await;
        seated.push((client, task));
    }
    sleep(Duration::from_millis(10)).await;
    let refused = come(&rig, other(9)).await;
    assert_eq!(refused.err(), Some(TcpCloseReason::Refused));
    for (client, _) in &mut seated {
        assert_eq!(client.next_reply().await, Some((1, 0)));
    }
    assert!(come(&rig, other(9)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_client_makes_room_for_itself_and_not_for_others() {
    let rig = Rig::with(limits(10, 2));
    let (mut foreign, _task) = come(&rig, other(1)).await.unwrap();
    let (mut busy, _busy) = come(&rig, CLIENT).await.unwrap();
    busy.send(&query(1, "w1000")).await;
    let (mut idle, task) = come(&rig, CLIENT).await.unwrap();
    let (mut third, third_task) = come(&rig, CLIENT).await.unwrap();
    assert_eq!(idle.reply().await, None);
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::ClientLimit);
    third.send(&query(1, "w900")).await;
    let refused = come(&rig, CLIENT).await;
    assert_eq!(refused.err(), Some(TcpCloseReason::ClientRefused));
    foreign.send(&query(2, "ns")).await;
    assert_eq!(foreign.next_reply().await, Some((2, 0)));
    assert_eq!(busy.next_reply().await, Some((1, 0)));
    drop(third);
    third_task.await.unwrap();
    assert!(come(&rig, CLIENT).await.is_ok());
}

/// A slow connection is at rest, whether it sends a message byte by byte or does not read.
#[tokio::test(start_paused = true)]
async fn a_slow_connection_leaves_as_well() {
    let rig = Rig::with(limits(2, 2));
    let (mut dripping, drips) = come(&rig, other(1)).await.unwrap();
    dripping.send(&[0]).await;
    let (near, far) = duplex(100);
    let deaf = rig.serve(far, other(2)).unwrap();
    let mut client = Client(near);
    client
        .send(&[query(1, "ns"), query(2, "ns")].concat())
        .await;
    let (_third, _task) = come(&rig, other(3)).await.unwrap();
    assert_eq!(drips.await.unwrap().reason, TcpCloseReason::Limit);
    let (_fourth, _task) = come(&rig, other(4)).await.unwrap();
    let end = deaf.await.unwrap();
    assert_eq!((end.reason, end.abrupt), (TcpCloseReason::Limit, true));
}

#[tokio::test(start_paused = true)]
async fn a_v6_client_is_a_56() {
    let rig = Rig::with(limits(10, 1));
    let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().into();
    let (_one, first) = come(&rig, v6("2001:db8:0:100::1")).await.unwrap();
    let (_two, _task) = come(&rig, v6("2001:db8:0:200::1")).await.unwrap();
    let (_three, _task) = come(&rig, v6("2001:db8:0:1ff:ffff::")).await.unwrap();
    assert_eq!(first.await.unwrap().reason, TcpCloseReason::ClientLimit);
    // An IPv4-mapped address is an IPv4 client.
    let (_four, fourth) = come(&rig, v6("::ffff:192.0.2.99")).await.unwrap();
    let (_five, _task) = come(&rig, CLIENT).await.unwrap();
    assert_eq!(fourth.await.unwrap().reason, TcpCloseReason::ClientLimit);
}

#[tokio::test(start_paused = true)]
async fn the_idle_time_shrinks_when_seats_run_out() {
    let rig = Rig::with(limits(40, 40));
    let mut seated = Vec::new();
    let mut granted = Vec::new();
    for _ in 0..40 {
        seated.push(come(&rig, CLIENT).await.unwrap());
        granted.push(rig.seats.granted_idle().as_secs());
    }
    assert_eq!(granted[29], 10);
    assert_eq!(granted[34], 5);
    assert_eq!(granted[39], 1);
    assert!(granted.is_sorted_by(|a, b| a >= b));
    // Granted times stay, so the latest connection ends first.
    let (_last, last) = seated.pop().unwrap();
    let (_first, first) = seated.swap_remove(0);
    tokio::select! {
        end = last => assert_eq!(end.unwrap().reason, TcpCloseReason::Idle),
        _ = first => panic!("it was granted more"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_descriptor_is_freed_by_the_longest_idle_one() {
    let rig = Rig::new();
    let (_first, first) = come(&rig, other(1)).await.unwrap();
    let (_second, second) = come(&rig, other(2)).await.unwrap();
    rig.seats.shared().free_descriptor();
    assert_eq!(first.await.unwrap().reason, TcpCloseReason::Descriptors);
    assert!(!second.is_finished());
    assert_eq!(rig.metrics.dns_tcp_connections.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn there_are_never_many_more_connections_than_seats() {
    let rig = Rig::with(limits(10, 10));
    // Without a pause in which connections could leave.
    let mut ends = Vec::new();
    sleep(Duration::from_millis(10)).await;
    for number in 0..1_000_u32 {
        let (near, far) = duplex(WIDE);
        let client = Ipv4Addr::from(number).into();
        match rig.serve(far, client) {
            Ok(task) => ends.push((near, task)),
            Err(reason) => assert_eq!(reason, TcpCloseReason::Refused),
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        let open = rig.metrics.dns_tcp_connections.get();
        assert!(open <= 10 + 64, "{open}");
    }
    drop(ends);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(rig.metrics.dns_tcp_connections.get(), 0);
}
