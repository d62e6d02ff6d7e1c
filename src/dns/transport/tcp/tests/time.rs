//! What ends a connection, and when.

use tokio::time::{Instant, sleep};

use super::*;

/// The reason why a connection ends, and after how many seconds from now.
async fn end(task: JoinHandle<End>) -> (TcpCloseReason, u64) {
    let begin = Instant::now();
    let end = task.await.unwrap();
    (end.reason, begin.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn rfc7766_6_2_3_an_idle_connection_ends() {
    let rig = Rig::new();
    let (_client, task) = rig.connect();
    assert_eq!(end(task).await, (TcpCloseReason::Idle, 10));

    // From the last reply on.
    let (mut client, task) = rig.connect();
    for id in 0..5 {
        sleep(Duration::from_secs(7)).await;
        client.send(&query(id, "w1000")).await;
        assert!(client.reply().await.is_some());
    }
    assert_eq!(end(task).await, (TcpCloseReason::Idle, 10));
    assert_eq!(client.reply().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_message_has_to_arrive_in_time() {
    let rig = Rig::new();
    let message = query(1, "ns");
    // However little is missing, and however often bytes arrive.
    for (length, pause) in [
        (1, 0),
        (2, 0),
        (message.len() - 1, 0),
        (message.len() - 1, 1),
    ] {
        let (mut client, task) = rig.connect();
        sleep(Duration::from_secs(3)).await;
        let begin = Instant::now();
        for byte in &message[..length] {
            let sent = client.0.write_all(&[*byte]).await;
            if sent.is_err() {
                break;
            }
            sleep(Duration::from_secs(pause)).await;
        }
        assert_eq!(task.await.unwrap().reason, TcpCloseReason::SlowMessage);
        let passed = begin.elapsed().as_secs();
        assert!((5..=6).contains(&passed), "{length}, {pause}: {passed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_message_begins_with_its_own_first_byte() {
    let rig = Rig::new();
    let (mut client, _) = rig.connect();
    // Each read ends within a message, for longer than a single one may take.
    let all: Vec<_> = (0..20).flat_map(|id| query(id, "ns")).collect();
    for piece in all.chunks(query(0, "ns").len() - 1) {
        client.send(piece).await;
        sleep(Duration::from_secs(2)).await;
    }
    for id in 0..20 {
        assert_eq!(client.next_reply().await, Some((id, 0)));
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_queries_are_answered_before_a_slow_message_ends_the_connection() {
    let rig = Rig::new();
    let (mut client, task) = rig.connect();
    client.send(&[1]).await;
    sleep(Duration::from_millis(4_500)).await;
    let message = query(1, "w1000");
    assert_eq!(message[0], 0);
    // The length was begun with another byte: what follows is a message of 256 bytes and more.
    client.send(&message[1..]).await;
    assert_eq!(end(task).await, (TcpCloseReason::SlowMessage, 0));

    let (mut client, task) = rig.connect();
    client.send(&[query(1, "ns"), vec![0]].concat()).await;
    sleep(Duration::from_millis(4_500)).await;
    client.send(&[&message[1..], &[0]].concat()).await;
    assert_eq!(client.next_reply().await, Some((1, 0)));
    assert_eq!(client.next_reply().await, Some((1, 0)));
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::SlowMessage);
}

#[tokio::test(start_paused = true)]
async fn a_client_has_to_read_its_replies() {
    let rig = Rig::new();
    let queries: Vec<_> = (0..100).map(|id| query(id, "ns")).collect();
    let (near, far) = duplex(5_000);
    let task = rig.serve(far, CLIENT).unwrap();
    let mut client = Client(near);
    client.send(&queries.concat()).await;
    let begin = Instant::now();
    let end = task.await.unwrap();
    assert_eq!(end.reason, TcpCloseReason::SlowReader);
    assert!(end.abrupt);
    assert_eq!(begin.elapsed().as_secs(), 10);

    // A byte now and then is not enough.
    let (near, far) = duplex(5_000);
    let task = rig.serve(far, CLIENT).unwrap();
    let mut client = Client(near);
    client.send(&queries.concat()).await;
    let begin = Instant::now();
    while !task.is_finished() {
        client.0.read_u8().await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::SlowReader);
    assert!(begin.elapsed().as_secs() <= 11);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_but_steadily_is_served() {
    let rig = Rig::new();
    let (near, far) = duplex(1_000);
    let task = rig.serve(far, CLIENT).unwrap();
    let (mut reads, mut writes) = tokio::io::split(near);
    let asked = tokio::spawn(async move {
        for id in 0..2_000 {
            writes.write_all(&query(id, "ns")).await.unwrap();
        }
        writes.shutdown().await.unwrap();
    });
    let begin = Instant::now();
    let (mut length, mut piece) = (0, [0; 500]);
    loop {
        match reads.read(&mut piece).await.unwrap() {
            0 => break,
            more => length += more,
        }
        sleep(Duration::from_millis(200)).await;
    }
    asked.await.unwrap();
    assert_eq!(length % 2_000, 0);
    assert!(length / 2_000 > query(0, "ns").len());
    assert!(begin.elapsed().as_secs() > 30, "it was no trial");
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::Client);
}

/// RFC 9210 §4.2: a limit on the total duration of a connection.
#[tokio::test(start_paused = true)]
async fn rfc9210_4_2_a_connection_lasts_for_its_lifetime() {
    let rig = Rig::with(TcpLimits {
        lifetime: Some(Duration::from_secs(60)),
        ..TcpLimits::default()
    });
    let (mut client, task) = rig.connect();
    let begin = Instant::now();
    let mut asked = 0;
    loop {
        // Waiting when the time is up.
        client.send(&query(asked, "w700")).await;
        if client.next_reply().await != Some((asked, 0)) {
            break;
        }
        asked += 1;
        client.send(&query(asked, &format!("w900-{asked}"))).await;
        assert_eq!(client.next_reply().await, Some((asked, 0)));
        asked += 1;
    }
    assert!(asked > 50);
    drop(client);
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::Lifetime);
    assert!((60..=62).contains(&begin.elapsed().as_secs()));

    let rig = Rig::with(TcpLimits {
        lifetime: None,
        ..TcpLimits::default()
    });
    let (mut client, task) = rig.connect();
    for id in 0..1_000 {
        client.send(&query(id, "ns")).await;
        assert_eq!(client.next_reply().await, Some((id, 0)));
        sleep(Duration::from_secs(9)).await;
    }
    drop(client);
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::Client);
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_waiting_queries() {
    let rig = Rig::new();
    let (mut busy, busy_task) = rig.connect();
    let (mut idle, idle_task) = rig.connect();
    busy.send(&[query(1, "w500"), query(2, "ns")].concat())
        .await;
    assert_eq!(busy.next_reply().await, Some((2, 0)));
    rig.seats.close(Order::Stop);
    assert_eq!(idle.reply().await, None);
    assert_eq!(end(idle_task).await, (TcpCloseReason::Stop, 0));
    busy.send(&query(3, "ns")).await;
    assert_eq!(busy.ids().await, [1]);
    drop(busy);
    assert_eq!(end(busy_task).await, (TcpCloseReason::Stop, 0));
    let (_near, far) = duplex(WIDE);
    let refused = rig.serve(far, CLIENT);
    assert_eq!(refused.err(), Some(TcpCloseReason::Stop));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_delays_the_stop_is_cut() {
    let rig = Rig::new();
    let (near, far) = duplex(100);
    let task = rig.serve(far, CLIENT).unwrap();
    let mut client = Client(near);
    client
        .send(&[query(1, "ns"), query(2, "ns")].concat())
        .await;
    sleep(Duration::from_secs(1)).await;
    rig.seats.close(Order::Stop);
    sleep(Duration::from_secs(1)).await;
    assert!(!task.is_finished(), "there are replies to be read");
    rig.seats.close(Order::Cut);
    let end = task.await.unwrap();
    assert_eq!((end.reason, end.abrupt), (TcpCloseReason::Stop, true));
}
