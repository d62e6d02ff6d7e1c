//! The bounds of a connection.

use tokio::time::sleep;

use super::*;

#[tokio::test(start_paused = true)]
async fn waiting_queries_are_bounded_and_none_is_lost() {
    let rig = Rig::new();
    let (mut client, _) = rig.connect();
    // Each query is for a link of its own, so that the store counts them.
    let queries: Vec<_> = (0..200)
        .map(|id| query(id, &format!("w1000-{id}")))
        .collect();
    client.send(&queries.concat()).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.store.asked.load(Ordering::Relaxed), 64);
    // Nor can a query be answered that needs no look-up, since the connection is not read.
    client.send(&query(200, "ns")).await;
    let mut ids = Vec::new();
    for _ in 0..=200 {
        let (id, rcode) = client.next_reply().await.unwrap();
        assert_eq!(rcode, 0);
        ids.push(id);
    }
    assert!(!ids[..64].contains(&200));
    ids.sort_unstable();
    assert_eq!(ids, (0..=200).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_read() {
    let rig = Rig::new();
    let (near, far) = duplex(1_000);
    let _task = rig.serve(far, CLIENT).unwrap();
    let (_reads, mut writes) = tokio::io::split(near);
    let query = query(1, "ns");
    let mut sent = 0;
    while timeout(Duration::from_secs(1), writes.write_all(&query))
        .await
        .is_ok()
    {
        sent += query.len();
        assert!(sent < 1 << 20, "there is no end");
    }
    // The two pipes, one read, and the queries for 16 KiB of replies.
    assert!(sent < 40_000, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_query_without_a_permit_in_time_closes_the_connection() {
    let rig = Rig::new();
    let mut taken: Vec<_> = std::iter::from_fn(|| rig.handler.permit()).collect();
    assert!(taken.len() > 1_000);
    let (mut client, task) = rig.connect();
    let wait = |id| query(id, &format!("w100-{id}"));
    client
        .send(&[query(1, "ns"), wait(2), query(3, "ns"), wait(4)].concat())
        .await;
    assert_eq!(client.next_reply().await, Some((1, 0)));
    sleep(Duration::from_secs(1)).await;
    // Enough for one at a time.
    drop(taken.pop());
    let mut replies = [(); 3].map(|()| None);
    for reply in &mut replies {
        *reply = client.next_reply().await;
    }
    assert_eq!(replies, [Some((2, 0)), Some((3, 0)), Some((4, 0))]);
    let last = rig.handler.permit().unwrap();
    assert_eq!(rig.drops(DropReason::Overload), 0);

    client.send(&[wait(5), query(6, "ns")].concat()).await;
    assert_eq!(client.next_reply().await, None);
    drop(client);
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::Overload);
    assert_eq!(rig.drops(DropReason::Overload), 1);
    drop(last);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_after_the_end_is_read_only_briefly() {
    let rig = Rig::new();
    let (near, far) = duplex(1_000);
    let task = rig.serve(far, CLIENT).unwrap();
    let (mut reads, mut writes) = tokio::io::split(near);
    let sender = tokio::spawn(async move {
        writes.write_all(&query(1, "ns")).await.unwrap();
        writes.write_all(&framed(&[])).await.unwrap();
        let mut sent = 0;
        while writes.write_all(&[0; 100]).await.is_ok() {
            sent += 100;
            sleep(Duration::from_millis(10)).await;
        }
        sent
    });
    let mut replies = Vec::new();
    reads.read_to_end(&mut replies).await.unwrap();
    assert!(!replies.is_empty());
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::NotAQuery);
    assert!(sender.await.unwrap() < 15_000);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_no_permits() {
    let rig = Rig::new();
    let room = || {
        // Held until all are counted.
        let permits: Vec<_> = std::iter::from_fn(|| rig.handler.permit()).collect();
        permits.len()
    };
    let all = room();
    let (near, far) = duplex(4_000);
    let task = rig.serve(far, CLIENT).unwrap();
    let (mut reads, mut writes) = tokio::io::split(near);
    // More replies than the bound, and further queries that have to wait.
    for id in 0..150 {
        writes.write_all(&query(id, "ns")).await.unwrap();
    }
    for id in 150..190 {
        let query = query(id, &format!("w500-{id}"));
        writes.write_all(&query).await.unwrap();
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(room(), all - 40);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(room(), all);
    // And none of them is lost.
    writes.shutdown().await.unwrap();
    let mut replies = Vec::new();
    reads.read_to_end(&mut replies).await.unwrap();
    let mut rest = &replies[..];
    let mut count = 0;
    while let Some((length, more)) = rest.split_first_chunk() {
        rest = &more[usize::from(u16::from_be_bytes(*length))..];
        count += 1;
    }
    assert_eq!(count, 190);
    assert_eq!(task.await.unwrap().reason, TcpCloseReason::Client);
}
