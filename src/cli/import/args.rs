//! The arguments of `tinyns import`, and their help.

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

Codes become lower case, since DNS ignores case. If the code already leads elsewhere or cannot be
a DNS label, the link gets a code made from its URL. The report on standard output has a line for
each renamed link, for each link that two records share, and for each refused link; keep it. The
last line on standard error has the totals. Existing links are not changed.

Exit codes:
  0  all links exist
  1  some links were refused, or the import ended early; the message says how to continue
  2  the command line is wrong

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file takes precedence, and the token file of the
                      configuration comes last";

const DYNAMODB_HELP: &str = "\
Examples:
  tinyns import dynamodb --table tinyUrl > report
  tinyns import dynamodb --table tinyUrl --region eu-central-1 --state import.state > report
  tinyns import dynamodb --table tinyUrl --endpoint-url http://127.0.0.1:8000

An item has miniUrl (S: a code, a full name or a short URL) and fullUrl (S), and may have
expiresAt (N, epoch seconds), ttl (N, seconds), title and note (S) and tags (SS). The table is only read, with DescribeTable and
Scan.

Environment:
  AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID and so on, as for the AWS tools
  TINYNS_ADMIN_TOKEN  the token; --token-file takes precedence, and the token file of the
                      configuration comes last";

const CSV_HELP: &str = "\
Examples:
  tinyns import csv links.csv --state import.state > report
  tinyns import csv shlink.csv                  shortCode,longUrl,...
  tinyns import csv yourls.csv                  keyword,url,...
  tinyns import csv bitly.csv                   Link,Custom Link,Destination URL,...
  tinyns import csv other.csv --column code=Slug --column url=Target --delimiter ';'

The first line names the columns. The column of the code, full name or short URL is called
miniUrl, name, code, shortCode, keyword, customLink, shortUrl, bitlink or link; the first of
these that has a value counts. The column of the URL is called fullUrl, url, longUrl,
destinationUrl, destination or originalUrl. The columns expires_at (RFC 3339 or epoch seconds)
ttl (seconds), title, tags (with commas or | between them) and note are optional. Letter case, blanks, hyphens and underscores in these names do
not matter. Other columns are ignored.

Without --delimiter, the import uses the first of , ; tab and | that splits the header into such
columns. Text is UTF-8, or UTF-16 with a byte order mark. If a quote is not closed, the line in
which it was opened is refused.

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file takes precedence, and the token file of the
                      configuration comes last";

const NDJSON_HELP: &str = "\
Examples:
  tinyns import ndjson links.ndjson --state import.state > report
  zcat export/data/*.json.gz | tinyns import ndjson - > report

Each line is a link as the API and `tinyns export` write it, or an item of DynamoDB: as plain
JSON with miniUrl and fullUrl, or in the form of a DynamoDB export to S3. Members may also have
the names that `tinyns import csv` knows, as in the APIs of Shlink and Bitly.

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file takes precedence, and the token file of the
                      configuration comes last";

const URLS_HELP: &str = "\
Examples:
  tinyns import urls list.txt > short.txt
  grep -o 'https://[^ ]*' page.txt | tinyns import urls - | cut -f 1
  tinyns import urls list.txt --json | jq -r 'select(.outcome != \"refused\").short_url'

Each line of the file is a URL. Standard output gets a line for each link, in the order of the
file: the short URL, a tab, and the URL. For a URL that has a link already, it is that link.
Refused URLs are reported on standard error, with their line and the reason. With --json, all
lines go to standard output, with the members outcome (made, there or refused), line, url, and
short_url or reason.

Exit codes:
  0  each URL has a link
  1  some URLs were refused, or the import ended early; the message says how to continue
  2  the command line is wrong

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file takes precedence, and the token file of the
                      configuration comes last";

impl ImportCommand {
    /// Whether the report is JSON.
    pub(in crate::cli) fn is_json(&self) -> bool {
        match self {
            Self::Dynamodb { import, .. }
            | Self::Csv { import, .. }
            | Self::Ndjson { import, .. }
            | Self::Urls { import, .. } => import.json,
        }
    }
}

/// The source of an import.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ImportCommand {
    /// Import the links of a DynamoDB table
    #[command(after_help = DYNAMODB_HELP)]
    Dynamodb {
        #[command(flatten)]
        table: TableArgs,
        #[command(flatten)]
        import: ImportArgs,
    },
    /// Import a CSV file with a header line, such as those of Shlink, YOURLS or Bitly
    #[command(after_help = CSV_HELP)]
    Csv {
        /// The file; - is standard input
        file: PathBuf,
        /// The column of the code, name, url, expires_at, ttl, title, tags or note; may be repeated, once for each
        #[arg(long = "column", value_name = "MEMBER=NAME")]
        columns: Vec<Column>,
        /// The character between two fields, or "tab"; by default taken from the header
        #[arg(long, value_name = "CHARACTER")]
        delimiter: Option<Delimiter>,
        #[command(flatten)]
        import: ImportArgs,
    },
    /// Import a file with one JSON object per line
    #[command(after_help = NDJSON_HELP)]
    Ndjson {
        /// The file; - is standard input
        file: PathBuf,
        #[command(flatten)]
        import: ImportArgs,
    },
    /// Shorten a list of URLs, one per line, and print the short URLs
    #[command(after_help = URLS_HELP)]
    Urls {
        /// The file; - is standard input
        file: PathBuf,
        #[command(flatten)]
        import: ImportArgs,
    },
}

/// A DynamoDB table.
#[derive(Debug, Args)]
pub(in crate::cli) struct TableArgs {
    /// The name of the table
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) table: String,
    /// The region of the table; by default that of the environment or the profile
    #[arg(long)]
    pub(in crate::cli) region: Option<String>,
    /// The URL of DynamoDB; by default the endpoint of the region
    #[arg(long, value_name = "URL", value_parser = api_client::http_url)]
    pub(in crate::cli) endpoint_url: Option<Url>,
}

/// The arguments of all imports.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The zone of all links. By default bare codes go to the server's first zone, and full names to
    /// their own zones
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(in crate::cli) zone: Option<Origin>,
    /// Take codes that the server reserves, such as www; needs a token with the role admin
    #[arg(long)]
    pub(in crate::cli) use_reserved: bool,
    /// A file that records the progress. After an early end, the same command continues from there;
    /// a complete import removes the file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) state: Option<PathBuf>,
    /// Report in JSON, with one object per line
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(flatten)]
    pub(in crate::cli) access: AccessArgs,
}
