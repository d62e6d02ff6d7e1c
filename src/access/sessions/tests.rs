use super::*;
use crate::access::{AdminToken, Gate, NewToken, Refusal, Role, Tokens};
use crate::store::SqliteStore;
use crate::store::audit::AuditQuery;

const ROOT: &str = "0123456789abcdef0123456789abcdef";
const NOW: UnixTime = UnixTime(1_700_000_000);

struct Place {
    store: Arc<dyn Store>,
    clock: Clock,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let store = SqliteStore::open(&dir.path().join("links.db"), clock.clone()).unwrap();
        Self {
            store: Arc::new(store),
            clock,
            _dir: dir,
        }
    }

    /// A server of this store with this root token.
    fn gate(&self, root: &str) -> Gate {
        let tokens = Tokens::new(self.store.clone(), self.clock.clone());
        Gate::new(AdminToken::from_text(root).unwrap(), Arc::new(tokens))
    }
}

async fn open(gate: &Gate, secret: &str) -> String {
    gate.open_session(secret.as_bytes(), None).await.unwrap().1
}

async fn make_token(gate: &Gate, name: &str, expires_at: Option<UnixTime>) -> String {
    let new = NewToken {
        name: name.into(),
        role: Role::Editor,
        zones: None,
        expires_at,
        rate: None,
    };
    gate.tokens().create(new, &Caller::root()).await.unwrap().1
}

#[tokio::test]
async fn a_session_is_valid_on_all_servers_until_its_end() {
    let place = Place::new();
    let (one, other) = (place.gate(ROOT), place.gate(ROOT));
    let value = open(&one, ROOT).await;
    for gate in [&one, &other] {
        let session = gate.session(&value).await.unwrap().unwrap();
        assert_eq!(session.caller, Caller::root());
        assert_eq!(session.ends_at, UnixTime(NOW.0 + SESSION_SECS));
    }
    place.clock.set(UnixTime(NOW.0 + SESSION_SECS - 1));
    assert!(other.session(&value).await.unwrap().is_some());
    place.clock.set(UnixTime(NOW.0 + SESSION_SECS));
    assert!(one.session(&value).await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let place = Place::new();
    let gate = place.gate(ROOT);
    let secret = make_token(&gate, "ann", None).await;
    let value = open(&gate, &secret).await;
    let session = gate.session(&value).await.unwrap().unwrap();
    assert_eq!(
        (session.caller.name(), session.caller.role()),
        ("ann", Role::Editor)
    );

    gate.tokens().revoke("ann", &Caller::root()).await.unwrap();
    assert!(gate.session(&value).await.unwrap().is_none());
    // Another token of the same name does not bring it back.
    make_token(&gate, "ann", None).await;
    assert!(gate.session(&value).await.unwrap().is_none());

    let end = UnixTime(NOW.0 + 60);
    let secret = make_token(&gate, "bob", Some(end)).await;
    let value = open(&gate, &secret).await;
    assert!(gate.session(&value).await.unwrap().is_some());
    place.clock.set(end);
    assert!(gate.session(&value).await.unwrap().is_none());
}

#[tokio::test]
async fn another_root_token_ends_the_sessions_of_the_old_one() {
    let place = Place::new();
    let value = open(&place.gate(ROOT), ROOT).await;
    let other = place.gate("another-root-token-of-32-letters");
    assert!(other.session(&value).await.unwrap().is_none());
}

#[tokio::test]
async fn a_changed_value_is_no_session() {
    let place = Place::new();
    let gate = place.gate(ROOT);
    let value = open(&gate, ROOT).await;
    for at in 0..value.len() {
        let mut bytes = value.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(gate.session(&changed).await.unwrap().is_none(), "{at}");
    }
    let (id, rest) = value.split_once('.').unwrap();
    let (content, signature) = rest.split_once('.').unwrap();
    let longer = format!(
        "{{\"n\":\"admin\",\"e\":{},\"r\":\"\"}}",
        NOW.0 + 10 * SESSION_SECS
    );
    let longer = URL_SAFE_NO_PAD.encode(longer);
    for bad in [
        "",
        ".",
        "..",
        "a.b.c",
        &format!("{id}.{longer}.{signature}"),
        &format!("{id}.{content}."),
        &format!("{id}..{signature}"),
        &format!("{value}."),
        &format!("{value} "),
        &"x".repeat(10_000),
    ] {
        assert!(gate.session(bad).await.unwrap().is_none(), "{bad}");
    }
}

#[tokio::test]
async fn form_tokens_are_those_of_one_session() {
    let place = Place::new();
    let (one, other) = (place.gate(ROOT), place.gate(ROOT));
    let (first, second) = (open(&one, ROOT).await, open(&one, ROOT).await);
    let token = async |gate: &Gate, value: &str| {
        let session = gate.session(value).await.unwrap().unwrap();
        session.form_token
    };
    assert_eq!(token(&one, &first).await, token(&other, &first).await);
    assert_ne!(token(&one, &first).await, token(&one, &second).await);
}

#[tokio::test]
async fn keys_are_replaced_and_old_sessions_last_until_their_end() {
    const WEEK: u64 = 7 * 24 * 60 * 60;
    let place = Place::new();
    let (one, other) = (place.gate(ROOT), place.gate(ROOT));
    let key = |value: &str| value.split_once('.').unwrap().0.to_owned();
    let first = open(&one, ROOT).await;
    assert_eq!(key(&open(&other, ROOT).await), key(&first));

    place.clock.set(UnixTime(NOW.0 + WEEK - 1));
    let late = open(&one, ROOT).await;
    assert_eq!(key(&late), key(&first));
    place.clock.set(UnixTime(NOW.0 + WEEK + 1));
    let next = open(&other, ROOT).await;
    assert_ne!(key(&next), key(&first));
    // The other server finds the new key after half a second at the latest.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    for value in [&late, &next] {
        assert!(one.session(value).await.unwrap().is_some());
    }
    assert_eq!(key(&open(&one, ROOT).await), key(&next));
}

/// For how long another server may take a session that was ended.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(600);

#[tokio::test]
async fn a_session_can_be_ended_alone_on_all_servers() {
    let place = Place::new();
    let (one, other) = (place.gate(ROOT), place.gate(ROOT));
    let (first, second) = (open(&one, ROOT).await, open(&one, ROOT).await);
    let session = one.session(&first).await.unwrap().unwrap();
    assert!(other.session(&first).await.unwrap().is_some());
    one.end_session(&session).await.unwrap();
    assert!(one.session(&first).await.unwrap().is_none());
    tokio::time::sleep(MOMENT).await;
    for gate in [&one, &other, &place.gate(ROOT)] {
        assert!(gate.session(&first).await.unwrap().is_none());
        assert!(gate.session(&second).await.unwrap().is_some());
    }
    // To end it again does nothing, and a session of later is another one.
    other.end_session(&session).await.unwrap();
    let third = open(&other, ROOT).await;
    assert!(other.session(&third).await.unwrap().is_some());
    // A new key does not bring it back.
    place.clock.set(UnixTime(NOW.0 + SESSION_SECS - 1));
    assert!(one.session(&first).await.unwrap().is_none());
}

#[tokio::test]
async fn many_ends_of_sessions_of_one_token_leave_those_of_others() {
    let place = Place::new();
    let gate = place.gate(ROOT);
    let others = open(&gate, ROOT).await;
    let secret = make_token(&gate, "ann", None).await;
    let mut values = Vec::new();
    for _ in 0..40 {
        values.push(open(&gate, &secret).await);
    }
    for value in &values {
        if let Some(session) = gate.session(value).await.unwrap() {
            gate.end_session(&session).await.unwrap();
        }
    }
    for value in &values {
        assert!(gate.session(value).await.unwrap().is_none());
    }
    assert!(gate.session(&others).await.unwrap().is_some());
    place.clock.set(UnixTime(NOW.0 + 1));
    let later = open(&gate, &secret).await;
    assert!(gate.session(&later).await.unwrap().is_some());
}

#[tokio::test]
async fn all_sessions_can_be_ended_together() {
    let place = Place::new();
    let (one, other) = (place.gate(ROOT), place.gate(ROOT));
    let secret = make_token(&one, "ann", None).await;
    let values = [open(&one, ROOT).await, open(&other, &secret).await];
    one.end_all_sessions(&Caller::root()).await.unwrap();
    let next = open(&one, ROOT).await;
    tokio::time::sleep(MOMENT).await;
    for gate in [&one, &other] {
        for value in &values {
            assert!(gate.session(value).await.unwrap().is_none());
        }
        assert!(gate.session(&next).await.unwrap().is_some());
    }
    let log = {
        let query = AuditQuery {
            limit: 1,
            ..AuditQuery::default()
        };
        place.store.audit(query).await.unwrap()
    };
    let event = &log.entries[0].event;
    assert_eq!(
        (event.action, &event.object),
        (Action::SessionsEnded, &Object::Sessions)
    );
    assert_eq!(&*event.actor.name, "admin");
}

#[tokio::test]
async fn without_a_token_there_is_no_session() {
    let place = Place::new();
    let gate = place.gate(ROOT);
    let refused = gate.open_session(b"", None).await;
    assert!(matches!(refused, Err(Refusal::NoToken)));
    let refused = gate.open_session(b"wrong", None).await;
    assert!(matches!(refused, Err(Refusal::WrongToken)));
}
