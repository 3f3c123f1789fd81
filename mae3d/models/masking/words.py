"""Masking of whole words, vectorised over texts and draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.layers import Packing
from mae3d.models.masking.random import check_ratio, random_numbers
from mae3d.registry import MODELS
from mae3d.structures import TextMask

MOST = 512
"""Largest number of hidden tokens of a text (transformers' limit)."""


def word_budget(lengths: Tensor, ratio: float) -> Tensor:
    """Tokens that may be hidden of texts with ``lengths`` [B] tokens, special ones counted: int64 [B].

    ``min(512, max(1, round(n * ratio)))`` with halves rounded to the even number, as Python does.
    """
    return (lengths.double() * ratio).round().long().clamp(1, MOST)


def take_words(lengths: Tensor, budget: Tensor) -> Tensor:
    """Go through words in order and take each that still fits: bool [..., W].

    Args:
        lengths: int64 [..., W], tokens of each word in the order of the draw; 0 for places without a word.
        budget: int64 [...], most tokens to take.
    """
    budget = budget.unsqueeze(-1)
    taken = lengths > 0
    while True:  # each turn settles the first word that does not fit, at most as often as a word is long
        total = (lengths * taken).cumsum(-1)
        over = taken & (total > budget)
        if not over.any():
            return taken
        left = budget - (total * (taken & ~over)).amax(-1, keepdim=True)
        taken = taken & ~(over & (lengths > left))  # what is left only shrinks: longer words never fit again


def draw_words(words: Tensor, budget: Tensor, draws: int, generator: torch.Generator | None = None) -> Tensor:
    """Independent masks of whole words: bool [B, draws, L], True where hidden.

    Words are shuffled and taken while they fit; one that would exceed the budget is passed over.

    Args:
        words: int64 [B, L], number of the word that each token belongs to, -1 for tokens that are never hidden.
        budget: int64 [B], see :func:`word_budget`.
        draws: Masks of each text.
        generator: Source of the draws; None: the global RNG of the device.
    """
    belongs = words >= 0
    number = words.clamp(min=0)
    lengths = torch.zeros_like(words).scatter_add_(1, number, belongs.long())  # [B, L], by the number of the word
    keys = random_numbers((len(words), draws, words.shape[1]), words.device, generator)
    order = keys.argsort(dim=-1)
    in_order = lengths.unsqueeze(1).expand_as(order).gather(2, order)
    taken = take_words(in_order, budget.unsqueeze(1).expand(-1, draws))
    hidden = torch.zeros_like(taken).scatter_(2, order, taken)
    return hidden.gather(2, number.unsqueeze(1).expand_as(order)) & belongs.unsqueeze(1)


@MODELS.register_module()
class EnhancedMasking(nn.Module):
    """RetroMAE's two masks: hidden words for the encoder, and for the decoder a set of visible tokens per position.

    The encoder's hidden tokens become [MASK] (80 %), a random id (10 %) or stay (10 %). The decoder hides nothing in
    its input: each position sees the tokens that one of ``draws`` further masks leaves, and never itself.

    Args:
        encoder_ratio: Share of tokens that the encoder must predict.
        decoder_ratio: Share of tokens that a position of the decoder does not see.
        vocab_size: Number V of ids, for random ones.
        mask_id: Id of [MASK].
        special_ids: Ids that the encoder never has to predict: [PAD], [UNK], [CLS], [SEP], [MASK].
        draws: Most masks that the positions of one text share; official 256.
        replaced: Shares of hidden tokens that become [MASK], and a random id.
    """

    def __init__(
        self,
        encoder_ratio: float = 0.3,
        decoder_ratio: float = 0.5,
        *,
        vocab_size: int = 30522,
        mask_id: int = 103,
        special_ids: Sequence[int] = (0, 100, 101, 102, 103),
        draws: int = 256,
        replaced: tuple[float, float] = (0.8, 0.1),
    ) -> None:
        super().__init__()
        if not 0 <= min(replaced) <= sum(replaced) <= 1:
            raise ConfigError(f"EnhancedMasking: replaced must be two shares of at most 1 in all, got {replaced}")
        if draws < 1:
            raise ConfigError(f"EnhancedMasking: draws must be at least 1, got {draws}")
        self.encoder_ratio, self.decoder_ratio = check_ratio(encoder_ratio), check_ratio(decoder_ratio)
        self.vocab_size, self.mask_id = vocab_size, mask_id
        self.register_buffer("special_ids", torch.tensor(tuple(special_ids)), persistent=False)
        self.draws = draws
        self.replaced = tuple(replaced)

    def forward(
        self, tokens: Tensor, words: Tensor, packing: Packing, generator: torch.Generator | None = None
    ) -> TextMask:
        """Draw both masks.

        Args:
            tokens: int64 [T], ids.
            words: int64 [T], number of the word of each token within its text, -1 at the special tokens of its ends.
            packing: Which rows belong to which text.
            generator: Source of the draws; None: the global RNG of the device.
        """
        numbers, lengths = packing.pad(words, -1), packing.offsets.diff()
        hidden = draw_words(numbers, word_budget(lengths, self.encoder_ratio), 1, generator)[:, 0]
        masked = packing.unpad(hidden) & ~torch.isin(tokens, self.special_ids)
        inputs = self.corrupt(tokens, masked, generator)
        return TextMask(inputs, masked, self.visible(numbers, lengths, generator))

    def corrupt(self, tokens: Tensor, masked: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Ids [T] with those at ``masked`` replaced."""
        draw, other = random_numbers((2, len(tokens)), tokens.device, generator)
        to_mask, to_random = self.replaced
        random_ids = (other.double() * self.vocab_size).long()
        changed = torch.where(draw < to_mask, self.mask_id, random_ids)
        return torch.where(masked & (draw < to_mask + to_random), changed, tokens)

    def visible(self, words: Tensor, lengths: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bool [B, L, L]: what each position of the decoder sees; arguments are padded, -1 and [B]."""
        length = words.shape[1]
        masks = draw_words(words, word_budget(lengths, self.decoder_ratio), min(self.draws, length), generator)
        count = lengths.clamp(max=self.draws).double().unsqueeze(1)
        choice = (random_numbers(tuple(words.shape), words.device, generator).double() * count).long()
        hidden = masks.gather(1, choice.unsqueeze(2).expand(-1, -1, length))
        real = torch.arange(length, device=words.device) < lengths.unsqueeze(1)
        own = torch.eye(length, dtype=torch.bool, device=words.device)
        return ~(hidden | own) & real.unsqueeze(1) & real.unsqueeze(2)

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"encoder_ratio={self.encoder_ratio}, decoder_ratio={self.decoder_ratio}, draws={self.draws}"
