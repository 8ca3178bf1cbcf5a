//! HTTP: the one file that names the client.
//!
//! Certificates are those of the system (or of `SSL_CERT_FILE`), read when the first `https` address is asked for; a list
//! compiled in would neither know a company's proxy nor learn of a revoked root. Redirects are followed here and not by the
//! library, because every hop decides anew who gets the token.

use std::io::Read;
use std::sync::OnceLock;
use std::time::Duration;

use ureq::http::{HeaderMap, Response as HttpResponse};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy, ProxyProtocol};

use crate::address::{self, Origin};
use crate::{HubError, Settings, Token};

/// Connections under one group of settings.
pub(crate) struct Client {
    agents: [OnceLock<Agent>; 2],
    proxies: [Option<Proxy>; 2],
    timeout: Duration,
    answered: OnceLock<()>,
}

/// What is asked.
pub(crate) struct Request<'a> {
    pub(crate) address: &'a str,
    /// Only the headers.
    pub(crate) head: bool,
    pub(crate) headers: &'a [(&'static str, String)],
    /// For the server of `address`, and no other.
    pub(crate) token: Option<&'a Token>,
    /// Whether a redirect to another server is followed, or handed back.
    pub(crate) leave_server: bool,
}

/// What is answered, redirects followed.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) address: String,
    pub(crate) body: Body,
}

impl Answer {
    /// A header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header that holds a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }
}

const MOST_REDIRECTS: usize = 10;

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self, HubError> {
        let [secure, plain] = &settings.proxies;
        let proxies = [
            proxy(secure.as_deref(), "HTTPS_PROXY", &settings.no_proxy)?,
            proxy(plain.as_deref(), "HTTP_PROXY", &settings.no_proxy)?,
        ];
        Ok(Self { agents: Default::default(), proxies, timeout: settings.timeout, answered: OnceLock::new() })
    }

    /// Whether any server has answered yet.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.get().is_some()
    }

    /// Sends a request and follows where the server points, to ten places at most.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Answer, HubError> {
        let (_, first) = address::parse(request.address)?;
        let mut token = request.token;
        if token.is_some() && !first.is_private() {
            return Err(readable_token(&first.host));
        }
        let mut current = request.address.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let (uri, origin) = address::parse(&current)?;
            // Whoever has led away from the server may not lead back to it with the token.
            token = token.filter(|_| origin == first);
            let answer = self.send_once(&current, &origin, token, request)?;
            let status = answer.status().as_u16();
            let target = answer.headers().get("location").and_then(|target| target.to_str().ok());
            let next = target.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308));
            let Some(next) = next.map(|target| address::join(&uri, target)) else {
                return Ok(taken_apart(answer, current));
            };
            let (_, leads_to) = address::parse(&next)?;
            if leads_to != first && !request.leave_server {
                return Ok(taken_apart(answer, current));
            }
            if origin.scheme == "https" && leads_to.scheme == "http" {
                return Err(redirect(&current, &next, "which is not a secure address"));
            }
            current = next;
        }
        Err(redirect(request.address, &current, "after ten other redirects"))
    }

    fn send_once(
        &self,
        address: &str,
        origin: &Origin,
        token: Option<&Token>,
        request: &Request<'_>,
    ) -> Result<HttpResponse<Body>, HubError> {
        let agent = self.agent(origin.scheme == "https");
        let mut builder = if request.head { agent.head(address) } else { agent.get(address) };
        for (name, value) in request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(Token(token)) = token {
            builder = builder.header("Authorization", format!("Bearer {token}"));
        }
        let answer = builder.call().map_err(|error| self.failed(&origin.host, error))?;
        self.answered.get_or_init(|| ());
        Ok(answer)
    }

    fn agent(&self, secure: bool) -> &Agent {
        let [for_secure, for_plain] = &self.agents;
        let [secure_proxy, plain_proxy] = &self.proxies;
        let (agent, proxy) = if secure { (for_secure, secure_proxy) } else { (for_plain, plain_proxy) };
        agent.get_or_init(|| {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .proxy(proxy.clone())
                .user_agent(concat!("regraft/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .timeout_resolve(Some(self.timeout))
                .timeout_connect(Some(self.timeout))
                .timeout_recv_response(Some(self.timeout))
                .timeout_per_read(Some(self.timeout));
            let secured =
                secure || proxy.as_ref().is_some_and(|proxy| proxy.protocol() == ProxyProtocol::Https);
            let config = if secured { config.tls_config(system_certificates()) } else { config };
            config.build().new_agent()
        })
    }

    fn failed(&self, host: &str, error: ureq::Error) -> HubError {
        let host = host.to_owned();
        match error {
            ureq::Error::Timeout(_) => HubError::TimedOut { host, seconds: self.timeout.as_secs() },
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                HubError::TimedOut { host, seconds: self.timeout.as_secs() }
            }
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
                HubError::Insecure { host, reason: error.to_string() }
            }
            ureq::Error::Io(ref inner) if is_certificate(inner) => {
                HubError::Insecure { host, reason: inner.to_string() }
            }
            ureq::Error::Io(error) if is_cut(&error) => {
                HubError::Cut { address: host, received: 0, total: None, reason: error.to_string() }
            }
            error => HubError::Unreachable { host, reason: error.to_string() },
        }
    }
}

/// A failure while an answer is on its way, as against a server that was never there.
fn is_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn is_certificate(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn taken_apart(answer: HttpResponse<Body>, address: String) -> Answer {
    let (parts, body) = answer.into_parts();
    Answer { status: parts.status.as_u16(), headers: parts.headers, address, body }
}

fn readable_token(host: &str) -> HubError {
    let message = format!(
        "the token would go to {host} over a line that anybody can read; use https://, or no token \
         (HF_HUB_DISABLE_IMPLICIT_TOKEN=1)"
    );
    HubError::Setting { variable: "HF_ENDPOINT", message }
}

fn redirect(address: &str, target: &str, reason: &'static str) -> HubError {
    HubError::Redirect { address: address::shown(address), target: address::shown(target), reason }
}

fn proxy(address: Option<&str>, variable: &'static str, exceptions: &str) -> Result<Option<Proxy>, HubError> {
    let Some(address) = address else { return Ok(None) };
    let refused = |message: &str| HubError::Setting { variable, message: message.to_owned() };
    let unknown = |_| refused("it is not the address of a proxy");
    let parsed = Proxy::new(address).map_err(unknown)?;
    if !matches!(parsed.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(refused(
            "a SOCKS proxy cannot be used; set it to one that begins with http:// or https://",
        ));
    }
    let mut builder = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(name) = parsed.username() {
        builder = builder.username(name).password(parsed.password().unwrap_or_default());
    }
    let exceptions = exceptions.split(',').map(str::trim).filter(|name| !name.is_empty());
    // As everywhere but in the library, a name stands for the servers below it too.
    let builder =
        exceptions.fold(builder, |builder, name| builder.no_proxy(name).no_proxy(&format!(".{name}")));
    builder.build().map(Some).map_err(unknown)
}

fn system_certificates() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    let certificates = found.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
    TlsConfig::builder()
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// The content of an answer, up to `limit` bytes.
pub(crate) fn read_all(answer: Answer, limit: u64) -> Result<Vec<u8>, HubError> {
    let address = address::shown(&answer.address);
    let mut content = Vec::new();
    let read = answer.body.into_reader().take(limit + 1).read_to_end(&mut content);
    read.map_err(|error| HubError::Cut {
        address: address.clone(),
        received: content.len() as u64,
        total: None,
        reason: error.to_string(),
    })?;
    if content.len() as u64 > limit {
        return Err(HubError::Size {
            address,
            expected: format!("at most {limit}"),
            found: content.len() as u64,
        });
    }
    Ok(content)
}
