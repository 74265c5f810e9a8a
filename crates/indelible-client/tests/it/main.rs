//! The client against a real server, over real connections.

#[cfg(test)]
mod evidence;
#[cfg(test)]
mod front;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod middleware;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod spool;
#[cfg(test)]
mod stranger;
#[cfg(test)]
mod world;
