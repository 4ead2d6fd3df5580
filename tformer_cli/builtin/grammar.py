"""Random choice of plausible actions: agent, object, place, time and modality."""

from __future__ import annotations

from tformer_cli.builtin import lexicon
from tformer_cli.builtin.lexicon import NOUNS, TIMES, TIMES_OF, Verb
from tformer_cli.builtin.meaning import Action, Phrase, is_first_person
from tformer_cli.builtin.phrases import (
    ALL_VERBS,
    SPEAKERS,
    Nonsense,
    PhraseChooser,
    are_kindred,
    is_ambiguous,
    places_for,
    takes_people,
)

_VEHICLES = tuple(NOUNS[name] for name in ("bus", "train", "car", "bicycle"))
_HABITS = (*TIMES_OF["habit"], *TIMES_OF["often"])


class Chooser(PhraseChooser):
    """A chooser of phrases and actions."""

    def action(
        self,
        subject: Phrase | None = None,
        verb: Verb | None = None,
        *,
        tense: str = "",
        bare: bool = False,
        rich: bool = True,
    ) -> Action:
        """Draw an action for a main clause.

        Args:
            subject: the agent; None: it is drawn.
            verb: the verb; None: it is drawn.
            tense: past, present or future; empty: it is drawn.
            bare: leave out time, modality and negation.
            rich: allow relative clauses and pairs of objects.

        Raises:
            Nonsense: if the choices are incompatible; the other methods raise it too.
        """
        if verb is None:
            verb = self.choose(ALL_VERBS)
        tense = tense or self.choose((*["past"] * 3, *["present"] * 4, "future"))
        if verb.kind in ("i", "na") or "STATE" in verb.traits or verb.english == "understand":
            tense = "present" if tense == "future" else tense
        if subject is None:
            is_new = tense == "past" and not bare
            subject = self.subject(verb.subjects, people=takes_people(verb), new=is_new, rich=rich)
        elif subject.noun not in verb.subjects and not (takes_people(verb) and "person" in subject.noun.tags):
            raise Nonsense
        action = self.surroundings(Action(subject, verb, tense=tense), rich=rich)
        if not bare:
            action = self.circumstances(action)
        if is_ambiguous(action, None) or not _says_enough(action):
            raise Nonsense
        return action

    def surroundings(self, action: Action, *, rich: bool) -> Action:
        """Add objects, persons and places to an action."""
        verb, subject, traits = action.verb, action.subject, action.verb.traits
        actor = subject.noun if subject is not None else NOUNS["man"]
        is_person = "person" in actor.tags
        spots = places_for(verb, actor)
        objects = self.objects(verb, subject, rich=rich) if verb.objects else ()
        # Further words after an object's relative clause would seem to belong to it.
        closed = any(item.relative is not None for item in objects)
        other = self.receiver(subject, verb) if subject is not None and traits & {"TO", "FROM"} else None
        goal = self.choose(spots) if "GO" in traits else None
        origin = place = None
        if "WAY" in traits and is_person and self.chance(50):
            origin, goal = self.choose(lexicon.WALKS), self.choose(lexicon.WALKS)
            if origin is goal:
                raise Nonsense
        if goal is None and spots and not closed:
            percent = 100 if verb.english == "live" else 30 if objects else 65
            place = self.choose(spots) if self.chance(percent) else None
        vehicle = self.choose(_VEHICLES) if "BY" in traits and self.chance(25) else None
        has_company = "WITH" in traits and vehicle is None and is_person and not closed and self.chance(15)
        companion = self.person(subject) if has_company else None
        return Action(subject, verb, objects, other, goal, origin, place, companion, vehicle, tense=action.tense)

    def objects(self, verb: Verb, subject: Phrase | None, *, rich: bool) -> tuple[Phrase, ...]:
        """Draw an object, or a pair of similar ones without modifiers."""
        is_pair = rich and self.chance(8)
        first = self.object(verb, subject, rich=rich and not is_pair)
        if verb.english == "wear" and subject is not None and subject.several and first.determiner == "a":
            raise Nonsense  # several people wear several shirts
        if not is_pair:
            return (first,)
        second = self.object(verb, subject, rich=False)
        if not are_kindred(first.noun, second.noun) or "KIN" in second.noun.tags:
            raise Nonsense
        return first, second

    def receiver(self, subject: Phrase, verb: Verb) -> Phrase:
        """Draw the person who receives something, or from whom it is borrowed."""
        if "FROM" in verb.traits:
            return self.person(subject, pronouns=False)
        if not is_first_person(subject) and self.chance(20):
            return SPEAKERS[0]
        return self.person(subject)

    def circumstances(self, action: Action) -> Action:
        """Add time, modality, aspect and negation that fit the tense."""
        verb, subject, traits = action.verb, action.subject, action.verb.traits
        assert subject is not None
        new = subject.indefinite
        closed = any(item.relative is not None for item in action.objects)
        static = verb.kind in ("i", "na") or "STATE" in traits or verb.english == "understand"
        numbered = any(item.number for item in action.objects)
        negative = not new and not numbered and len(action.objects) < 2 and self.chance(18)
        if static:
            return action._replace(negative=negative)
        if action.tense != "future" and not new and "person" in subject.noun.tags and self.chance(18):
            speaks = is_first_person(subject) or subject.noun.english == "you"
            modal = self.choose(("can", "want", "want") if speaks else ("can", "can", "want"))
            return action._replace(modal=modal, negative=negative)
        if not traits & {"EVENT"} and action.tense != "future" and self.chance(30):
            times = TIMES_OF["now"] if action.tense == "present" else lexicon.HOURS
            time = self.choose(times) if not closed and self.chance(35) else None
            return action._replace(progressive=True, negative=negative, time=time)
        if action.tense == "future":
            if closed:
                raise Nonsense
            return action._replace(negative=negative, time=self.choose(TIMES_OF["future"]))
        if closed or self.chance(25):
            return action._replace(negative=negative)
        options = (*TIMES_OF["past"], self.choose(lexicon.HOURS)) if action.tense == "past" else _HABITS
        time = TIMES["often"] if negative and action.tense == "present" and self.chance(50) else self.choose(options)
        if time.kind == "often" and time.english != "often":
            negative = False
        return action._replace(negative=negative, time=time)


def _says_enough(action: Action) -> bool:
    """Return whether an action has a complement, unlike "They sleep"."""
    return bool(action.objects or action.goal or action.place or action.time or action.companion)
