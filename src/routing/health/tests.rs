//! Which pools clients get while some are down.

use std::net::IpAddr;

use proptest::prelude::*;

use super::testing::tcp;
use super::*;
use crate::base::prefix::Prefix;
use crate::routing::tests::{CITIES, config, networks, owner, pool, test_file, world};
use crate::routing::{Fail, Family, ListId, Located, Location, RoutingConfig, Why};

const NOW: UnixTime = UnixTime(1_800_000_000);
const LIST: ListId = ListId(0);

/// Pools whose addresses are checked; each has its own.
fn checked(pools: Vec<Pool>) -> Vec<Pool> {
    let pools = pools.into_iter().zip(1..);
    let checked = pools.map(|(pool, last)| Pool {
        ipv4: vec![[192, 0, 2, last].into()],
        check: Some(tcp(80).into()),
        ..pool
    });
    checked.collect()
}

fn open(config: RoutingConfig) -> Routing {
    Routing::open(config).unwrap()
}

fn of(pools: Vec<Pool>) -> Routing {
    open(config(checked(pools), None))
}

/// Notes that the targets are up or down. Those of [`checked`] have the places of their pools.
fn set(routing: &Routing, is_up: impl Fn(usize) -> bool) {
    let targets = routing.board().targets().len();
    for place in 0..targets {
        let result = is_up(place).then_some(()).ok_or(Failure::Timeout);
        // More often than damping asks for.
        for _ in 0..64 {
            routing.note(place, result.clone(), NOW);
        }
    }
}

fn locate(routing: &Routing, address: &str) -> Located {
    let address = address.parse().unwrap();
    let located = routing.locate(LIST, address, Family::Any);
    let explained = routing.explain(&owner(), address, Family::Any).unwrap();
    assert_eq!(explained.located, located, "the quick way finds the same");
    located
}

fn name_of(routing: &Routing, address: &str) -> String {
    let pool = locate(routing, address).pool;
    let name = pool.map(|at| routing.config.pools[usize::from(at)].name.to_string());
    name.unwrap_or_else(|| "none".into())
}

fn default(name: &str) -> Pool {
    Pool {
        default: true,
        ..pool(name)
    }
}

/// From the smallest network to the default.
#[test]
fn clients_of_a_pool_that_is_down_get_the_next_best() {
    let mut pools = world();
    pools[0].networks = networks("89.160.20.112/28 10.0.0.0/8");
    pools.push(Pool {
        networks: networks("89.160.0.0/16"),
        ..pool("around")
    });
    pools.push(default("last"));
    pools[4].default = false;
    let routing = open(config(checked(pools), Some(test_file(CITIES))));
    let mut down = Vec::new();
    let mut order = Vec::new();
    loop {
        set(&routing, |place| !down.contains(&place));
        // In Sweden.
        let located = locate(&routing, "89.160.20.113");
        let explained = routing.explain(&owner(), "89.160.20.113".parse().unwrap(), Family::Any);
        let why = explained.unwrap().why;
        if why == Why::AllDown {
            break;
        }
        let pool = usize::from(located.pool.unwrap());
        order.push((&*routing.config.pools[pool].name, why));
        down.push(pool);
    }
    let country = Why::Country(crate::routing::Letters::parse("SE").unwrap());
    let continent = Why::Continent(crate::routing::Letters::parse("EU").unwrap());
    let expected = [
        ("own", Why::Network),
        ("around", Why::Network),
        ("countries", country),
        ("europe", continent),
        ("seattle", Why::Nearest),
        ("tokyo", Why::Nearest),
        ("last", Why::Default),
    ];
    assert_eq!(order, expected);
    set(&routing, |_| true);
    assert_eq!(name_of(&routing, "89.160.20.113"), "own");
}

/// More pools than there are steps of distance.
#[test]
fn far_pools_are_used_if_all_near_ones_are_down() {
    let at = |longitude: f64, name: &str| Pool {
        location: Some(Location {
            latitude: 59.0,
            longitude,
        }),
        ..pool(name)
    };
    let pools = (0..8).map(|number| at(15.0 + 10.0 * f64::from(number), &number.to_string()));
    let routing = open(config(checked(pools.collect()), Some(test_file(CITIES))));
    let client = "89.160.20.113";
    for nearest in 0..4 {
        set(&routing, |place| place >= nearest);
        let name = name_of(&routing, client);
        match nearest {
            0..3 => assert_eq!(name, nearest.to_string()),
            _ => assert!(("3"..="7").contains(&&*name), "{name}"),
        }
    }
    set(&routing, |place| place == 6);
    assert_eq!(name_of(&routing, client), "6");
}

/// A pool without a weight is a reserve.
#[test]
fn pools_without_weight_come_before_the_next_reason() {
    let of_ten = |name: &str, weight| Pool {
        weight,
        networks: networks("10.0.0.0/8"),
        ..pool(name)
    };
    let routing = of(vec![of_ten("a", 1), of_ten("reserve", 0), default("rest")]);
    assert_eq!(name_of(&routing, "10.1.1.1"), "a");
    set(&routing, |place| place != 0);
    assert_eq!(name_of(&routing, "10.1.1.1"), "reserve");
    set(&routing, |place| place == 2);
    assert_eq!(name_of(&routing, "10.1.1.1"), "rest");
}

#[test]
fn all_down_is_open_or_closed() {
    let with = |fail| {
        let config = config(checked(vec![default("a"), default("b")]), None);
        open(RoutingConfig { fail, ..config })
    };
    let (is_open, is_closed) = (with(Fail::Open), with(Fail::Closed));
    let before = name_of(&is_open, "192.0.2.1");
    for routing in [&is_open, &is_closed] {
        set(routing, |_| false);
        assert!(
            routing
                .statuses()
                .iter()
                .all(|one| one.state == Condition::Down)
        );
    }
    assert_eq!(name_of(&is_open, "192.0.2.1"), before);
    assert!(locate(&is_open, "192.0.2.1").served.has(0));
    let located = locate(&is_closed, "192.0.2.1");
    assert_eq!((located.pool, located.closed), (None, true));
    // Drained pools are never used.
    is_open.set_drained(|name| name == before, NOW);
    assert_ne!(name_of(&is_open, "192.0.2.1"), before);
    is_open.set_drained(|_| true, NOW);
    let located = locate(&is_open, "192.0.2.1");
    assert_eq!((located.pool, located.closed), (None, false));
    is_open.set_drained(|_| false, NOW);
    set(&is_open, |_| true);
    assert_eq!(name_of(&is_open, "192.0.2.1"), before);
}

#[test]
fn an_address_that_is_down_leaves_the_answer() {
    let mut pools = checked(vec![default("a"), default("b")]);
    pools[0].ipv6 = vec!["2001:db8::1".parse().unwrap()];
    pools[1].weight = 0;
    let routing = open(config(pools, None));
    let served = |family| {
        let located = routing.locate(LIST, "192.0.2.1".parse().unwrap(), family);
        (located.pool, located.served.has(0), located.served.has(1))
    };
    set(&routing, |place| place != 0);
    assert_eq!(served(Family::Any), (Some(0), false, true));
    assert_eq!(served(Family::Ipv6), (Some(0), false, true));
    // It has no IPv4 address left.
    assert_eq!(served(Family::Ipv4).0, Some(1));
    let edition = |family| {
        let located = routing.locate(LIST, "192.0.2.1".parse().unwrap(), family);
        located.served.edition()
    };
    let one_down = edition(Family::Any);
    assert_ne!(one_down, 0);
    set(&routing, |_| true);
    assert_eq!(
        (served(Family::Ipv4), edition(Family::Ipv4)),
        ((Some(0), true, true), 0)
    );
    set(&routing, |place| place != 0);
    assert_eq!(edition(Family::Any), one_down, "the same answers as before");
}

/// Each target is checked once, whatever refers to it.
#[test]
fn pools_share_targets() {
    let mut pools = checked(vec![default("a"), default("b"), default("c")]);
    for pool in &mut pools {
        pool.ipv4 = vec![[192, 0, 2, 9].into()];
    }
    pools[2].check = Some(tcp(81).into());
    let routing = open(config(pools, None));
    assert_eq!(routing.board().targets().len(), 2);
    routing.note(0, Err(Failure::Timeout), NOW);
    let states: Vec<_> = routing.statuses().iter().map(|one| one.state).collect();
    assert_eq!(states, [Condition::Down, Condition::Down, Condition::Up]);
}

const CLIENTS: u32 = 1_000_000;

/// While a pool is down, its clients are spread by weight and no other client moves. They return with it.
#[test]
fn weights_are_right_within_one_per_cent_while_a_pool_is_down() {
    let with = |name: &str, weight| Pool {
        weight,
        ..default(name)
    };
    let routing = of(vec![with("a", 1), with("b", 2), with("c", 3)]);
    let of_client = |client: u32| {
        let address = IpAddr::V4((client << 8 | 7).into());
        usize::from(routing.locate(LIST, address, Family::Any).pool.unwrap())
    };
    let before: Vec<_> = (0..CLIENTS).map(of_client).collect();
    set(&routing, |place| place != 1);
    let mut counts = [0_u32; 3];
    for (client, before) in before.iter().enumerate() {
        let after = of_client(client as u32);
        counts[after] += 1;
        assert!(after == *before || *before == 1);
    }
    assert_eq!(counts[1], 0);
    for (place, share) in [(0, 1), (2, 3)] {
        let expected = CLIENTS / 4 * share;
        assert!(
            counts[place].abs_diff(expected) < CLIENTS / 100,
            "{counts:?}"
        );
    }
    set(&routing, |_| true);
    assert!((0..CLIENTS).map(of_client).eq(before));
}

/// The first and last address of a scope, of an IPv4 address.
fn scope_of(address: u32, len: u8) -> (u32, u32) {
    let behind = u32::MAX.checked_shr(len.into()).unwrap_or(0);
    (address & !behind, address | behind)
}

/// Networks within 10.0.0.0/20, where the clients are as well.
fn any_network() -> impl Strategy<Value = Prefix> {
    (20_u8..=32, 0_u32..4096).prop_map(|(len, host)| {
        let (first, _) = scope_of(0x0A00_0000 | host, len);
        Prefix::of(IpAddr::V4(first.into()), len, 128)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// For any pools in any states: all addresses of a scope have the same pool and the same scope, so scopes do not
    /// overlap; no client gets a pool that is down while another that is for it is up; and the quick way finds what the long
    /// way finds.
    #[test]
    fn scopes_are_right_in_all_states(
        networks in prop::collection::vec(prop::collection::vec(any_network(), 0..4), 4),
        weights in prop::collection::vec(0_u16..3, 4),
        defaults in prop::collection::vec(any::<bool>(), 4),
        states in prop::collection::vec(0_u8..3, 4),
        closed in any::<bool>(),
    ) {
        let pools = (0..4).map(|number| Pool {
            networks: networks[number].clone(),
            weight: weights[number],
            default: defaults[number],
            ..pool(&number.to_string())
        });
        let fail = if closed { Fail::Closed } else { Fail::Open };
        let config = RoutingConfig { fail, ..config(checked(pools.collect()), None) };
        let routing = Routing::open(config).unwrap();
        set(&routing, |place| states[place] > 0);
        routing.set_drained(|name| states[name.parse::<usize>().unwrap()] == 2, NOW);
        for client in 0..4096_u32 {
            let address = 0x0A00_0000 | client;
            let ip = IpAddr::V4(address.into());
            let located = routing.locate(LIST, ip, Family::Any);
            let (first, last) = scope_of(address, located.scope);
            for other in [first, last, first + (last - first) / 2] {
                let other = routing.locate(LIST, IpAddr::V4(other.into()), Family::Any);
                prop_assert_eq!(other, located);
            }
            let explained = routing.explain(&owner(), ip, Family::Any).unwrap();
            prop_assert_eq!(explained.located, located);
            let is_for = |at: usize| defaults[at] || networks[at].iter().any(|one| one.has(ip));
            let has_up = (0..4).any(|at| is_for(at) && states[at] == 1);
            match located.pool {
                Some(pool) => {
                    let at = usize::from(pool);
                    prop_assert!(is_for(at));
                    prop_assert!(states[at] == 1 || !has_up && !closed && states[at] == 0);
                }
                None => prop_assert!(!has_up),
            }
            prop_assert_eq!(located.closed, closed && !has_up && (0..4).any(is_for));
        }
    }
}
