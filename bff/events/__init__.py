"""What desks are told without having asked.

event.py     what may be said, who may hear it, and how it looks on a stream
cursor.py    a position as a desk knows it
journal.py   a tenant's latest events, and who waits for the next
turns.py     so many of them at a time, however many there are
logs.py      how a journal keeps up with its tenant's log
bus.py       the one reader of an instance: probe, stall, rebuild
registry.py  one stream per device, on whichever instance
backstop.py  whose session is over, in case the word was lost
stream.py    a device's stream, from hello to its last word
streams.py   all streams of an instance: who gets one, and who is told to end
poll.py      the same events for who cannot hold a stream
intake.py    what the platform has to say
push.py      the same by Pub/Sub, at the edge: which token lets it in
farewell.py  who comes back when
"""
