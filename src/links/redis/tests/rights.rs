//! The rights that the user of Redis needs.

use super::*;
use crate::links::redis::connection::Connector;
use crate::links::redis::rights::{self, Uses};

#[tokio::test]
async fn each_documented_right_is_needed_and_its_lack_is_noticed() {
    let fixture = Fixture::start();
    let manual = include_str!("../../../../docs/configuration.md");
    let line = manual
        .lines()
        .find(|line| line.starts_with("ACL SETUSER tinyns "))
        .unwrap()
        .replace("~tinyns:*", "~t:*");
    // Those for statistics are in the text below.
    let (_, text) = manual.split_once("`+hget ").unwrap();
    let gathering = text.split('`').next().unwrap();
    let line = format!("{line} +hget {gathering}");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(fixture.cli(&words), "OK");
    let password = words
        .iter()
        .find_map(|word| word.strip_prefix('>'))
        .unwrap();
    let url = format!(
        "redis://tinyns:{password}@127.0.0.1:{}",
        fixture.server.port
    );
    let config = config(&url);
    let connector = Connector::new(&config).unwrap();
    let missing = async || {
        let mut connection = connector.connect(Duration::from_secs(5)).await.unwrap();
        connection.load_scripts().await.unwrap();
        let uses = |gathering| Uses {
            sentinels: true,
            gathering,
        };
        let all = rights::missing(&mut connection, "t", uses(true))
            .await
            .unwrap();
        let some = rights::missing(&mut connection, "t", uses(false))
            .await
            .unwrap();
        (rights::in_words(&all), rights::in_words(&some))
    };
    let both = |right: &str| (right.to_owned(), right.to_owned());
    assert_eq!(missing().await, both(""));
    let for_gathering: Vec<&str> = words
        .iter()
        .skip_while(|word| **word != "+hget")
        .copied()
        .collect();
    let commands = words.iter().filter_map(|word| word.strip_prefix('+'));
    for command in commands.filter(|command| *command != "ping") {
        let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", &format!("-{command}")]);
        let right = format!("+{command}");
        let expected = match for_gathering.contains(&&*right) {
            true => (right, String::new()),
            false => both(&right),
        };
        assert_eq!(missing().await, expected);
        let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", &format!("+{command}")]);
    }
    let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", "resetkeys", "~other:*"]);
    assert_eq!(missing().await, both("~t:*"));
}
