//! What may be typed behind `tinyns import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use url::Url;

use super::super::access::AccessArgs;
use super::columns::{Column, Delimiter};
use crate::cli::api_client;
use crate::link::Origin;

pub(in crate::cli) const IMPORT_HELP: &str = "\
Examples:
  tinyns import dynamodb --table tinyUrl --region eu-central-1 --state import.state
  tinyns import csv links.csv > report
  zcat export/data/*.json.gz | tinyns import ndjson -
  tinyns import urls list.txt | cut -f 1

A code loses its case, for DNS has none. Where the code leads elsewhere already, or cannot be a DNS
label, the link gets a code made from its URL. The report on standard output has a line for each of
these, for links that two records share, and for those that are refused; it is worth keeping. The
last line on standard error counts all. What is there already is left as it is.

Exit codes:
  0  all links are there
  1  some were refused, or the import ended early and says how to go on
  2  the command line is wrong

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file comes before it, the configuration's behind it";

const DYNAMODB_HELP: &str = "\
Examples:
  tinyns import dynamodb --table tinyUrl > report
  tinyns import dynamodb --table tinyUrl --region eu-central-1 --state import.state > report
  tinyns import dynamodb --table tinyUrl --endpoint-url http://127.0.0.1:8000

An item has miniUrl (S), a code, a full name or a short URL, and fullUrl (S); expiresAt (N, epoch
seconds) and ttl (N, seconds) are taken over, too. The table is only read, by DescribeTable and Scan.

Environment:
  AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID and so on, as for the AWS tools
  TINYNS_ADMIN_TOKEN  the token; --token-file comes before it, the configuration's behind it";

const CSV_HELP: &str = "\
Examples:
  tinyns import csv links.csv --state import.state > report
  tinyns import csv shlink.csv                  shortCode,longUrl,...
  tinyns import csv yourls.csv                  keyword,url,...
  tinyns import csv bitly.csv                   Link,Custom Link,Destination URL,...
  tinyns import csv other.csv --column code=Slug --column url=Target --delimiter ';'

The first line names the columns. A column with the code, which may as well be a full name or a
short URL, is called miniUrl, name, code, shortCode, keyword, customLink, shortUrl, bitlink or link;
the first of these that has a value counts. One with the URL is called fullUrl, url, longUrl,
destinationUrl, destination or originalUrl. There may be expires_at (RFC 3339 or epoch seconds) and
ttl (seconds). Letter case, blanks, hyphens and underscores in names do not matter, and other
columns are not looked at.

Without --delimiter it is the one of , ; tab and | by which the header has such columns. Text is
UTF-8, or UTF-16 with a byte order mark. A quote that is not closed costs the line in which it was
opened.

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file comes before it, the configuration's behind it";

const NDJSON_HELP: &str = "\
Examples:
  tinyns import ndjson links.ndjson --state import.state > report
  zcat export/data/*.json.gz | tinyns import ndjson - > report

A line is a link as the API and `tinyns export` write it, or an item of DynamoDB: as plain JSON with
miniUrl and fullUrl, or as DynamoDB's export to S3 has it. Members may have the names that columns
of `tinyns import csv` have, as in the API of Shlink and Bitly.

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file comes before it, the configuration's behind it";

const URLS_HELP: &str = "\
Examples:
  tinyns import urls list.txt > short.txt
  grep -o 'https://[^ ]*' page.txt | tinyns import urls - | cut -f 1
  tinyns import urls list.txt --json | jq -r 'select(.outcome != \"refused\").short_url'

A line of the file is a URL. Standard output gets a line for each link, in the order of the file:
the short URL, a tab, and the URL. A URL that has a link already gets that one. URLs that are
refused are told on standard error, with their line and the reason; with --json they are on standard
output, too, and each line has outcome (made, there or refused), line, url, and short_url or reason.

Exit codes:
  0  each URL has a link
  1  some were refused, or the import ended early and says how to go on
  2  the command line is wrong

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file comes before it, the configuration's behind it";

/// Where links are taken from.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ImportCommand {
    /// Take over a DynamoDB table, such as the article's
    #[command(after_help = DYNAMODB_HELP)]
    Dynamodb {
        #[command(flatten)]
        table: TableArgs,
        #[command(flatten)]
        import: ImportArgs,
    },
    /// Take over a CSV file with a header line, also one of Shlink, YOURLS or Bitly
    #[command(after_help = CSV_HELP)]
    Csv {
        /// The file; - is standard input
        file: PathBuf,
        /// Which column is the code, name, url, expires_at or ttl; may be given once for each
        #[arg(long = "column", value_name = "MEMBER=NAME")]
        columns: Vec<Column>,
        /// What stands between two fields: one character, or "tab"; without it the header tells
        #[arg(long, value_name = "CHARACTER")]
        delimiter: Option<Delimiter>,
        #[command(flatten)]
        import: ImportArgs,
    },
    /// Take over a file with a JSON object a line
    #[command(after_help = NDJSON_HELP)]
    Ndjson {
        /// The file; - is standard input
        file: PathBuf,
        #[command(flatten)]
        import: ImportArgs,
    },
    /// Shorten a list of URLs, one a line, and print the short URLs
    #[command(after_help = URLS_HELP)]
    Urls {
        /// The file; - is standard input
        file: PathBuf,
        #[command(flatten)]
        import: ImportArgs,
    },
}

/// Which table.
#[derive(Debug, Args)]
pub(in crate::cli) struct TableArgs {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) table: String,
    /// Its region; without it the one of the environment or the profile
    #[arg(long)]
    pub(in crate::cli) region: Option<String>,
    /// Where DynamoDB is, if not at the region's own endpoint
    #[arg(long, value_name = "URL", value_parser = api_client::http_url)]
    pub(in crate::cli) endpoint_url: Option<Url>,
}

/// What all imports have in common.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The zone of all links. Without it bare codes go to the server's first zone, and full names
    /// to their own
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(in crate::cli) zone: Option<Origin>,
    /// A file that remembers where the import is. After an early end the same command goes on from
    /// there; at the end the file is removed
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) state: Option<PathBuf>,
    /// Report in JSON, an object a line
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) access: AccessArgs,
}
