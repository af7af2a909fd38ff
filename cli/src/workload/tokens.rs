//! Families `transfers`, `erc20` and `amm`: value transfers, token transfers, swaps.

use super::super::devnet::asm::assemble;
use super::world::{Call, Signed, World, contract_address, mapping_slot, words};
use super::{Family, Knobs};
use alloy_primitives::{Address, U256, hex};
use clap::Args;
use serde::Serialize;

/// Balance of every holder in each of its tokens.
const OWNED: u128 = 10u128.pow(24);
/// Unit of a pool's initial reserves: each is 1 to 7 times as large, depending on pool and token.
const RESERVE: u128 = 10u128.pow(22);

/// Options of `transfers`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Transfers {
    /// Percentage of the transfers that go to one hot account
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = super::percent())]
    hot: u64,
    /// Percentage of the other transfers that create a new account
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = super::percent())]
    new: u64,
}

impl Knobs for Transfers {
    fn start(&self, _world: &mut World) -> Box<dyn Family> {
        Box::new(self.clone())
    }
}

impl Family for Transfers {
    fn next(&mut self, world: &mut World) -> Signed {
        let sender = world.any_sender();
        let (to, gas_limit) = if world.percent(self.hot) {
            (world.account(0), 21_000)
        } else if world.percent(self.new) {
            (world.fresh(), 210_000)
        } else {
            let index = world.below(world.accounts());
            (world.account(index), 21_000)
        };
        let value = 1 + world.below(1_000_000);
        world.sign(sender, Call { to: Some(to), value, gas_limit, ..Call::default() })
    }
}

/// Options of `erc20`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Erc20 {
    /// Number of token contracts
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    tokens: u64,
    /// Percentage of the transfers that go to one hot holder of each token
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = super::percent())]
    hot: u64,
    /// Percentage of the other transfers that go to an account without a balance
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = super::percent())]
    new: u64,
}

impl Knobs for Erc20 {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        // Account i holds token i mod `tokens`, so the number of tokens must not exceed the number
        // of senders.
        let tokens = self.tokens.min(world.senders());
        let code = token_code();
        let addresses = (0..tokens)
            .map(|token| {
                let holders = (token..world.accounts()).step_by(tokens as usize);
                let storage: Vec<_> =
                    holders.map(|holder| (balance_slot(world.account(holder)), U256::from(OWNED))).collect();
                world.contract(&format!("token {token}"), code.clone(), storage)
            })
            .collect();
        Box::new(TokenTransfers { tokens: addresses, knobs: self.clone() })
    }
}

struct TokenTransfers {
    tokens: Vec<Address>,
    knobs: Erc20,
}

impl Family for TokenTransfers {
    fn next(&mut self, world: &mut World) -> Signed {
        let count = self.tokens.len() as u64;
        let sender = world.any_sender();
        let token = sender % count;
        let to = if world.percent(self.knobs.hot) {
            world.account(token)
        } else if world.percent(self.knobs.new) {
            world.fresh()
        } else {
            let holders = (world.accounts() - token).div_ceil(count);
            let index = world.below(holders) * count + token;
            world.account(index)
        };
        let input = transfer_call(to, 1 + world.below(1_000_000));
        let to = Some(self.tokens[token as usize]);
        world.sign(sender, Call { to, input, gas_limit: 200_000, ..Call::default() })
    }
}

/// The slot of a token with the balance of `holder`.
pub fn balance_slot(holder: Address) -> U256 {
    mapping_slot(holder.into_word(), 0)
}

/// The slot of a token with the amount that `spender` may transfer from `holder`.
fn allowance_slot(holder: Address, spender: Address) -> U256 {
    let inner = mapping_slot(holder.into_word(), 1);
    alloy_primitives::keccak256([spender.into_word().0, inner.to_be_bytes()].concat()).into()
}

/// Calldata of `transfer(address,uint256)`.
pub fn transfer_call(to: Address, amount: u64) -> Vec<u8> {
    let mut call = hex!("a9059cbb").to_vec();
    call.extend_from_slice(to.into_word().as_slice());
    call.extend_from_slice(&words(&[amount]));
    call
}

/// Runtime code of a token with `transfer`, `transferFrom` and `balanceOf`: balances in the mapping
/// at slot 0, allowances at slot 1. An infinite allowance is never reduced. Reverts if a balance or
/// allowance is too low.
pub fn token_code() -> Vec<u8> {
    assemble(
        "0 CALLDATALOAD 224 SHR
         DUP1 0xa9059cbb EQ @transfer JUMPI
         DUP1 0x23b872dd EQ @transferFrom JUMPI
         0x70a08231 EQ @balanceOf JUMPI
         fail: 0 0 REVERT

         balanceOf: 4 CALLDATALOAD 0 MSTORE 64 0 KECCAK256 SLOAD 0 MSTORE 32 0 RETURN

         transfer: POP CALLER 4 CALLDATALOAD 36 CALLDATALOAD @move JUMP

         transferFrom: POP                                      ; keccak(caller, keccak(from, 1))
         4 CALLDATALOAD 0 MSTORE 1 32 MSTORE 64 0 KECCAK256
         32 MSTORE CALLER 0 MSTORE 64 0 KECCAK256
         DUP1 SLOAD 68 CALLDATALOAD                             ; slot allowed amount
         DUP1 DUP3 LT @fail JUMPI
         DUP2 NOT ISZERO @infinite JUMPI
         SWAP1 SUB SWAP1 SSTORE @allowed JUMP
         infinite: POP POP POP
         allowed: 4 CALLDATALOAD 36 CALLDATALOAD 68 CALLDATALOAD

         move:                                                  ; from to amount
         0 32 MSTORE DUP3 0 MSTORE 64 0 KECCAK256
         DUP1 SLOAD                                             ; from to amount slot balance
         DUP3 DUP2 LT @fail JUMPI
         DUP3 SWAP1 SUB SWAP1 SSTORE
         DUP2 0 MSTORE 64 0 KECCAK256
         DUP1 SLOAD DUP3 ADD SWAP1 SSTORE                       ; from to amount
         0 MSTORE SWAP1                                         ; to from
         0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef 32 0 LOG3
         1 0 MSTORE 32 0 RETURN",
    )
}

/// Options of `amm`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Amm {
    /// Number of pools, which trade eight tokens
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pools: u64,
    /// Percentage of the swaps that go to one hot pool
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = super::percent())]
    hot: u64,
}

/// Number of tokens that the pools trade.
const POOL_TOKENS: u64 = 8;

/// The two tokens of a pool, by index.
const fn pair(pool: u64) -> [u64; 2] {
    let first = pool % POOL_TOKENS;
    [first, (first + 1 + pool / POOL_TOKENS % (POOL_TOKENS - 1)) % POOL_TOKENS]
}

impl Knobs for Amm {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let router = world.contract("router", router_code(), []);
        let pools: Vec<Address> = (0..self.pools).map(|pool| contract_address(&format!("pool {pool}"))).collect();
        let reserve = |pool: u64, side: u64| U256::from(RESERVE) * U256::from(1 + (pool + 3 * side) % 7);
        let tokens: Vec<Address> = (0..POOL_TOKENS)
            .map(|token| {
                let traders = (0..world.senders()).map(|index| world.account(index));
                let mut storage: Vec<(U256, U256)> = traders
                    .flat_map(|trader| {
                        [(balance_slot(trader), U256::from(OWNED)), (allowance_slot(trader, router), U256::MAX)]
                    })
                    .collect();
                for (pool, address) in pools.iter().enumerate() {
                    let side = pair(pool as u64).iter().position(|one| *one == token);
                    storage.extend(side.map(|side| (balance_slot(*address), reserve(pool as u64, side as u64))));
                }
                world.contract(&format!("token {token}"), token_code(), storage)
            })
            .collect();
        for pool in 0..self.pools {
            let code = pool_code(pair(pool).map(|token| tokens[token as usize]));
            let packed = reserve(pool, 0) | reserve(pool, 1) << 112;
            world.contract(&format!("pool {pool}"), code, [(U256::ZERO, packed), (U256::from(1), U256::from(1))]);
        }
        Box::new(Swaps { router, pools, tokens, hot: self.hot })
    }
}

struct Swaps {
    router: Address,
    pools: Vec<Address>,
    tokens: Vec<Address>,
    hot: u64,
}

impl Family for Swaps {
    fn next(&mut self, world: &mut World) -> Signed {
        let sender = world.any_sender();
        let pool = if world.percent(self.hot) { 0 } else { world.below(self.pools.len() as u64) };
        let direction = world.below(2);
        let token = self.tokens[pair(pool)[direction as usize] as usize];
        let mut input = self.pools[pool as usize].into_word().to_vec();
        input.extend_from_slice(token.into_word().as_slice());
        // A swap sells at most about 0.01 % of the pool's reserve.
        input.extend_from_slice(&words(&[direction, 1 + world.below(1_000_000_000_000_000_000)]));
        world.sign(sender, Call { to: Some(self.router), input, gas_limit: 600_000, ..Call::default() })
    }
}

/// Runtime code of the router: calldata `pool ‖ token ‖ direction ‖ amount`. Transfers the caller's
/// tokens to the pool, then swaps them there.
fn router_code() -> Vec<u8> {
    assemble(
        "0x23b872dd 224 SHL 0 MSTORE                            ; token.transferFrom(caller, pool, amount)
         CALLER 4 MSTORE 0 CALLDATALOAD 36 MSTORE 96 CALLDATALOAD 68 MSTORE
         32 0 100 0 0 32 CALLDATALOAD GAS CALL ISZERO @fail JUMPI
         64 CALLDATALOAD 0 MSTORE CALLER 32 MSTORE              ; pool.swap(direction, caller)
         32 0 64 0 0 0 CALLDATALOAD GAS CALL ISZERO @fail JUMPI
         32 0 RETURN
         fail: 0 0 REVERT",
    )
}

/// Runtime code of a pool of two tokens in the manner of Uniswap v2; calldata `direction ‖
/// recipient`, where direction 0 sells the first token. The amount sold is the pool's balance above
/// its reserve; the fee is 0.3 % of it.
///
/// Slot 0: time (32 bits), second reserve (112), first reserve (112). Slot 1: the reentrancy lock.
/// Slots 2 and 3: cumulative prices.
fn pool_code(tokens: [Address; 2]) -> Vec<u8> {
    let [first, second] = tokens;
    let mask = "0xffffffffffffffffffffffffffff";
    assemble(&format!(
        "1 SLOAD 1 EQ ISZERO @fail JUMPI
         2 1 SSTORE                                             ; locked
         0 SLOAD DUP1 {mask} AND DUP2 112 SHR {mask} AND        ; packed r0 r1
         DUP3 224 SHR TIMESTAMP SUB                             ; packed r0 r1 seconds
         DUP1 ISZERO @priced JUMPI
         DUP3 DUP3 112 SHL DIV DUP2 MUL 2 SLOAD ADD 2 SSTORE    ; r1/r0 in fixed point, times seconds
         DUP2 DUP4 112 SHL DIV DUP2 MUL 3 SLOAD ADD 3 SSTORE
         priced: POP SWAP2 POP                                  ; r1 r0
         0 CALLDATALOAD @second JUMPI
         {second} {first} @quote JUMP
         second: SWAP1 {first} {second}
         quote:                                                 ; rout rin tout tin
         0x70a08231 224 SHL 0 MSTORE ADDRESS 4 MSTORE           ; tin.balanceOf(this)
         32 0 36 0 DUP5 GAS STATICCALL ISZERO @fail JUMPI
         POP SWAP2 SWAP1                                        ; tout rout rin
         DUP1 0 MLOAD SUB                                       ; tout rout rin paid
         DUP1 ISZERO @fail JUMPI
         DUP1 997 MUL DUP1 DUP4 1000 MUL ADD                    ; tout rout rin paid fee-less den
         SWAP1 DUP5 MUL DIV                                     ; tout rout rin paid out
         DUP1 DUP5 SUB DUP3 DUP5 ADD                            ; tout rout rin paid out rout' rin'
         DUP4 3 MUL DUP2 1000 MUL SUB DUP3 1000 MUL MUL         ; .. the product after, without the fee
         DUP7 DUP7 MUL 1000000 MUL                              ; .. the product before
         GT @fail JUMPI
         0 CALLDATALOAD @packSecond JUMPI
         SWAP1 112 SHL OR @pack JUMP
         packSecond: 112 SHL OR
         pack: TIMESTAMP 224 SHL OR 0 SSTORE                    ; tout rout rin paid out
         0xa9059cbb 224 SHL 0 MSTORE 32 CALLDATALOAD 4 MSTORE DUP1 36 MSTORE
         32 0 68 0 0 DUP10 GAS CALL ISZERO @fail JUMPI          ; tout.transfer(recipient, out)
         0 MSTORE 32 MSTORE                                     ; tout rout rin
         32 CALLDATALOAD CALLER
         0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822 64 0 LOG3
         1 1 SSTORE
         32 0 RETURN
         fail: 0 0 REVERT"
    ))
}
