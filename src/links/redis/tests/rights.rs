//! The rights that the user of Redis needs.

use super::*;
use crate::links::redis::connection::Connector;
use crate::links::redis::rights;

#[tokio::test]
async fn each_documented_right_is_needed_and_its_lack_is_noticed() {
    let fixture = Fixture::start();
    let manual = include_str!("../../../../docs/configuration.md");
    let line = manual
        .lines()
        .find(|line| line.starts_with("ACL SETUSER tinyns "))
        .unwrap()
        .replace("~tinyns:*", "~t:*");
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
        let missing = rights::missing(&mut connection, "t", true).await.unwrap();
        rights::in_words(&missing)
    };
    assert_eq!(missing().await, "");
    let commands = words.iter().filter_map(|word| word.strip_prefix('+'));
    for command in commands.filter(|command| *command != "ping") {
        let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", &format!("-{command}")]);
        assert_eq!(missing().await, format!("+{command}"));
        let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", &format!("+{command}")]);
    }
    let _ = fixture.cli(&["ACL", "SETUSER", "tinyns", "resetkeys", "~other:*"]);
    assert_eq!(missing().await, "~t:*");
}
