//! Files over HTTP and HTTPS.
//!
//! | bound | by |
//! |---|---|
//! | connecting, headers, a pause in the body | [`Settings::patience`] each |
//! | a body that trickles | [`Settings::bytes_per_second_least`], over the whole of it |
//! | length | what is asked for: an announced length beyond it is not read at all, and no body further |
//! | redirections | 5; from HTTPS to HTTPS only; name and password of the address do not go along |
//!
//! Only the answer 404 says that there is no such file. S3 says 403 for a missing object to whoever may not list the bucket:
//! a store there lets its readers list, or has an error object that answers 404.
//!
//! `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy` are honoured; certificates are the system's (`SSL_CERT_FILE`,
//! `SSL_CERT_DIR`).

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use ureq::http::{StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};

use super::transport::{FetchError, Transport};

/// Most redirections of an address.
const REDIRECTS_MOST: u32 = 5;

/// How a server is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The caller's environment, which says how the network is reached.
    pub environment: BTreeMap<String, String>,
    /// How long each of these may take: a name's resolution, a connection, an answer's headers, a pause in its body.
    pub patience: Duration,
    /// How fast a body has to come, on the whole; the first [`Settings::patience`] do not count.
    pub bytes_per_second_least: u64,
}

impl Settings {
    /// The usual settings: as long as a person would wait, and slower than any link that is in use.
    pub fn usual(environment: BTreeMap<String, String>) -> Settings {
        Settings { environment, patience: Duration::from_secs(30), bytes_per_second_least: 1000 }
    }
}

/// A file, from some byte on, as it comes.
pub struct Part {
    /// The byte that it begins with: the one that was asked for, or 0 where the server sends the whole.
    pub begins: u64,
    /// How much is announced, in bytes.
    pub length: Option<u64>,
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
}

/// A store at an address.
#[derive(Debug)]
pub struct Http {
    agent: ureq::Agent,
    base: String,
    settings: Settings,
}

impl Http {
    /// A store at `base`, such as `https://example.org/store/tuf`.
    ///
    /// # Errors
    /// The proxy that the environment names is none.
    pub fn new(base: &str, settings: Settings) -> Result<Http, FetchError> {
        let base = format!("{}/", base.trim_end_matches('/'));
        Ok(Http { agent: agent(&base, &settings)?, base, settings })
    }

    /// Asks for a file from its byte `from` on. The reader fails where the body pauses for longer than a person would wait;
    /// how much of it is read, and how slow it may be on the whole, is the caller's to bound.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn get(&self, path: &str, from: u64) -> Result<Part, FetchError> {
        let mut request =
            self.agent.get(format!("{}{path}", self.base)).header(header::ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| FetchError::Failed(error.to_string()))?;
        let begins = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if from > 0 && range_begin(&response) == Some(from) => from,
            StatusCode::PARTIAL_CONTENT => {
                return Err(FetchError::Failed(
                    "the server sends another part than was asked for".to_owned(),
                ));
            }
            StatusCode::NOT_FOUND => return Err(FetchError::NotFound),
            status => return Err(FetchError::Failed(format!("the server answers {status}"))),
        };
        let length = response.body().content_length();
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Part { begins, length, reader: Box::new(reader) })
    }

    /// How patient it is.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn read(
        &self,
        response: &mut ureq::http::Response<ureq::Body>,
        most: u64,
    ) -> Result<Vec<u8>, FetchError> {
        let announced = response.body().content_length();
        let too_long = FetchError::TooLong { length_most: most };
        if announced.is_some_and(|length| length > most) {
            return Err(too_long);
        }
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        let begun = Instant::now();
        loop {
            let count = body.read(&mut buffer).map_err(|error| FetchError::Failed(error.to_string()))?;
            bytes.extend_from_slice(&buffer[..count]);
            let have = bytes.len() as u64;
            if have > most {
                return Err(too_long);
            }
            if count == 0 {
                return match announced {
                    Some(length) if have < length => {
                        Err(FetchError::Failed("the connection ended before the file did".to_owned()))
                    }
                    _ => Ok(bytes),
                };
            }
            let earned = Duration::from_secs(have / self.settings.bytes_per_second_least.max(1));
            if begun.elapsed() > self.settings.patience.saturating_add(earned) {
                let least = self.settings.bytes_per_second_least;
                return Err(FetchError::Failed(format!("it comes at less than {least} bytes a second")));
            }
        }
    }
}

/// The first byte of the one range that an answer has (RFC 9110, 14.4).
fn range_begin(response: &ureq::http::Response<ureq::Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

impl Transport for Http {
    fn fetch(&self, path: &str, length_most: u64) -> Result<Vec<u8>, FetchError> {
        let request =
            self.agent.get(format!("{}{path}", self.base)).header(header::ACCEPT_ENCODING, "identity");
        let mut response = request.call().map_err(|error| FetchError::Failed(error.to_string()))?;
        match response.status() {
            StatusCode::OK => self.read(&mut response, length_most),
            StatusCode::NOT_FOUND => Err(FetchError::NotFound),
            status => Err(FetchError::Failed(format!("the server answers {status}"))),
        }
    }
}

fn agent(base: &str, settings: &Settings) -> Result<ureq::Agent, FetchError> {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let patience = Some(settings.patience);
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy(base, &settings.environment)?)
        .https_only(is_https(base))
        .max_redirects(REDIRECTS_MOST)
        .timeout_resolve(patience)
        .timeout_connect(patience)
        .timeout_per_read(patience)
        .timeout_recv_response(patience)
        .http_status_as_error(false)
        .user_agent(concat!("pack/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.into())
}

fn is_https(address: &str) -> bool {
    address.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

/// The proxy for an address, as curl(1) finds it: `HTTP_PROXY` in capital letters is none, as it could be a header's.
fn proxy(address: &str, environment: &BTreeMap<String, String>) -> Result<Option<ureq::Proxy>, FetchError> {
    let first = |names: &[&str]| {
        names.iter().filter_map(|name| environment.get(*name)).find(|value| !value.is_empty())
    };
    let named = match is_https(address) {
        true => first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        false => first(&["http_proxy", "all_proxy", "ALL_PROXY"]),
    };
    let Some(named) = named else { return Ok(None) };
    // What is wrong with it is not repeated: there may be a password in it.
    let wrong = |_| FetchError::Failed("the address of the proxy in the environment is none".to_owned());
    let plain = ureq::Proxy::new(named).map_err(wrong)?;
    let mut proxy = ureq::Proxy::builder(plain.protocol()).host(plain.host()).port(plain.port());
    if let Some(name) = plain.username() {
        proxy = proxy.username(name);
    }
    if let Some(password) = plain.password() {
        proxy = proxy.password(password);
    }
    for host in first(&["no_proxy", "NO_PROXY"]).iter().flat_map(|hosts| hosts.split(',')) {
        proxy = proxy.no_proxy(host.trim());
    }
    proxy.build().map(Some).map_err(wrong)
}
