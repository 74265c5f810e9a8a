//! The layers over real connections on loopback, with real logs.

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod browser_headers;
#[cfg(test)]
mod example;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod losses;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod stacked;
#[cfg(test)]
mod world;
