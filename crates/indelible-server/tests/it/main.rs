//! The server, from outside: over real connections to a real listener.

#[cfg(test)]
mod api;
#[cfg(test)]
mod browse;
#[cfg(test)]
mod compressed;
#[cfg(test)]
mod encoding;
#[cfg(test)]
mod health;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod making;
#[cfg(test)]
mod mtls;
#[cfg(test)]
mod network;
#[cfg(test)]
mod prefer;
#[cfg(test)]
mod readiness;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod several;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod shortcuts;
#[cfg(test)]
mod smuggled;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tiles;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod world;
