"""Phrases that mean as much as other words, and words that mean as much as each other.

Hand-made. Left of `=` what people write, right of it what it stands for (nothing: it says nothing).
They are matched after contractions are taken apart, over words alone, longest first. A synonym here
is one in the questions people ask of a help desk: in each line, every word may stand for every
other. WordNet's are in `lexicon.txt`.
"""

from __future__ import annotations

from typing import Final

PHRASES: Final = """
i would like to know =
i would like to =
i would like =  want
i would love to =
i want to know =
i wanted to know =
i need to know =
i wish to know =
i want to =
i wanted to =
i wish to =
i need to =
i need you to =
i have to =
i am looking to =
i am looking for = want
i am trying to =
i am attempting to =
i tried to = try
i have tried to = try
i was trying to = try
i was wondering =
i am wondering =
i wonder =
i am curious =
i am not sure how to = how
i am not sure how = how
i am unsure how to = how
i am having trouble = can not
i do not know how to = how
i do not know how = how
i do not understand how to = how
i do not understand why = why
i do not understand = why
i do not know why = why
i am not sure why = why
i am unsure why = why
i can not figure out how to = how
i can not figure out why = why
i think =
i believe =
i guess =
i feel like =
i noticed that =
i noticed =
i see that =
i see =
i have noticed that =
i have noticed =
i just noticed =
i found out that =
it looks like =
it seems like =
it seems that =
it seems =
it appears that =
it appears =
it says =
looks like =
seems like =
seems that =
can you please tell me =
could you please tell me =
can you tell me =
could you tell me =
would you tell me =
can you explain =
could you explain =
can you please explain =
can you let me know =
could you let me know =
can you help me =
could you help me =
can you please help me =
could you please help me =
can you help =
can you please help =
can you assist me =
can you assist =
can you show me =
can someone tell me =
can someone help me =
can someone explain =
can anyone tell me =
please tell me =
please explain =
please help me =
please help =
please advise =
please let me know =
please show me =
please assist =
tell me =
show me how to = how
show me =
let me know =
explain to me =
explain =
help me =
help me out =
help me understand =
give me information on =
i need help with =
i need help =
i need assistance with =
i need assistance =
i need your help =
i need some help =
i could use help =
i have a question about =
i have a question =
need help with =
need help =
need to know =
need to =
want to know =
want to =
would like to know =
would like to =
do you know if =
do you know =
do you happen to know =
any idea =
no idea why = why
any chance =
what about = ?
how about = ?
how do i go about = how
how would i go about = how
how can i go about = how
how should i go about = how
how to go about = how
how do you go about = how
what is the way to = how
what is the right way to = how
what is the correct way to = how
what is the proper way to = how
what is a way to = how
what are the ways to = how
what is the process to = how
what is the process for = how
what is the process of = how
what is the procedure to = how
what is the procedure for = how
what is the method to = how
what are the steps to = how
what are the steps for = how
what are the steps i need to take to = how
what are the steps needed to = how
what steps do i need to take to = how
what steps do i take to = how
what steps do i have to take to = how
what steps do i have to go through to = how
what steps do i have to go through in order to = how
what steps are needed to = how
what steps are required to = how
what steps should i take to = how
what do i do to = how
what do i have to do to = how
what do i need to do to = how
what should i do to = how
what must i do to = how
what can i do to = how
what would i do to = how
what do you do to = how
what do i do =
what should i do =
what can i do =
what do i need to do =
what shall i do =
what to do =
what next =
what is next =
how does one = how
how do i = how i
how can i = how i
how could i = how i
how should i = how i
how would i = how i
how may i = how i
how might i = how i
how do you = how you
how can you = how you
how can we = how i
how do we = how i
how to = how
how am i able to = how i
how is it possible to = how
how do people = how
how do users = how
way to = how
ways to = how
is there a way to = how
is there any way to = how
is there a way for me to = how i
is there any way i can = how i
is there a way i can = how i
is there a way that i can = how i
is there a method to = how
is it possible to = can i
is it possible for me to = can i
is it possible that =
is it possible =  can
would it be possible to = can i
would it be possible = can
would it be okay to = can
is it okay to = can i
is it ok to = can i
is it okay if = can
is it allowed to = can i
is it permitted to = can i
am i able to = can i
am i allowed to = can i
am i permitted to = can i
would i be able to = can i
will i be able to = can i
should i be able to = can i
are you able to = can you
are we able to = can i
are we allowed to = can i
being able to = can
be able to = can
i am able to = can i
i am not able to = i can not
i am unable to = i can not
unable to = can not
not able to = can not
not possible to = can not
impossible to = can not
not allowed to = can not
allow me to = can i
allows me to = can i
let me =
lets me = can i
do i have to = must i
do i need to = must i
do you have to = must you
do we have to = must i
do we need to = must i
does one have to = must
have to = must
has to = must
had to = must
am i required to = must i
is it required to = must
is it necessary to = must
is it mandatory to = must
is it compulsory to = must
required to = must
obliged to = must
obligated to = must
supposed to = should
had better = should
ought to = should
going to = will
about to = will
be going to = will
used to = formerly
how much time = how-long
how long does it take = how-long-take
how long will it take = how-long-take
how long would it take = how-long-take
how long is it going to take = how-long-take
how long it takes = how-long-take
how long it will take = how-long-take
how long do = how-long
how long does = how-long
how long = how-long
how many days does it take = how-long-take
how much does it cost to = what does cost
how much will it cost to = what will cost
how much will it cost = what will cost
how much does it cost = what does cost
how much would it cost = what cost
how much is it to = what is cost
how much do you charge for = what is cost
how much do you charge = what is cost
how much money is = what is cost
what does it cost to = what does cost
what does it cost = what does cost
what is the cost of = what is cost
what is the cost = what is cost
what is the price of = what is cost
what is the price = what is cost
what are the costs of = what is cost
what are the charges for = what is cost
how much are = what is cost
how much is = what is cost
how much was = what was cost
how much did it cost = what did cost
what was the price of = what was cost
what was the cost of = what was cost
how much = how-much
how many times = how-often
how many = how-many
how often = how-often
how frequently = how-often
how far = how-far
how old = how-old
how big = how-big
how large = how-big
how soon = when
how come = why
what for = why
for what reason = why
for what purpose = why
what is the reason = why
what is the reason that = why
what is the reason for = why
what was the reason for = why
what is the reason behind = why
what could be the reason = why
what caused = why
what is causing = why
what is the cause of = why
what made = why
what makes = why
the reason why = why
the reason for = why
the reason = why
reason why = why
what time = what-time
at what time = what-time
what day = what-day
on what day = what-day
which day = what-day
what date = what-day
which date = what-day
what place = where
in what place = where
where can i = where
where do i = where
where do i go to = how i
where do i go if = how i
where could i = where
where should i = where
where would i = where
where to = where
what kind of = which
what kinds of = which
what type of = which
what types of = which
what sort of = which
which kind of = which
which type of = which
what are some of =  which
what happens if = what-happens if
what happens when = what-happens if
what happens = what-happens
what will happen if = what-happens if
what would happen if = what-happens if
what will happen = what-happens
what happened to = where
what happened with = why
what happened = why
what is wrong with = why fail
what is wrong = why
what is the problem with = why
what is the problem = why
what is the issue = why
what is the matter = why
what is going on with = why
what is going on = why
what does it mean = mean
what is the meaning of = mean
what is meant by = mean
what is the definition of = mean
what is the difference between = difference
what are the differences between = difference
what differentiates = difference
difference between = difference
as soon as = when
in order to = to
so that i can = to
so as to = to
in order for = for
due to = because
because of = because
as a result of = because
thanks to = because
on account of = because
with respect to = about
in regard to = about
in regards to = about
with regard to = about
with regards to = about
as well as = and
along with = with
together with = with
by means of = by
by way of = by
instead of = instead
rather than = instead
in place of = instead
other than = except
apart from = except
aside from = except
but not = not
as opposed to = instead
prior to = before
ahead of = before
subsequent to = after
later than = after
earlier than = before
next to = beside
on top of = over
out of = out-from
off of = from
up to = at-most
at most = at-most
no more than = at-most
not more than = at-most
at least = at-least
no less than = at-least
not less than = at-least
more than = more than
less than = less than
no longer = not
not anymore = not
any more = 
any longer =
anymore =
not yet = not
still not = not
for free = free
free of charge = free
at no cost = free
at no charge = free
without paying = free
right now = now
at the moment = now
at present = now
at this time = now
as of now = now
these days = now
a lot of = many
lots of = many
plenty of = many
a number of = several
a couple of = several
a few = several
two times = twice
2 times = twice
double charged = charged twice
one time = once
1 time = once
once again = again
one more time = again
another time = again
each time = whenever
every time = whenever
all the time = always
at all times = always
from time to time = sometimes
turn on = turnon
turned on = turnon
turning on = turnon
switch on = turnon
switched on = turnon
power on = turnon
turn off = turnoff
turned off = turnoff
turning off = turnoff
switch off = turnoff
switched off = turnoff
power off = turnoff
turn up = turnup
turn down = turndown
log in = login
log into = login
log on = login
logged in = login
logging in = login
log me in = login
sign in = login
sign into = login
signed in = login
signing in = login
log out = logout
log off = logout
logged out = logout
logging out = logout
sign out = logout
signed out = logout
signing out = logout
sign up = signup
signed up = signup
signing up = signup
sign off = signoff
sign on = signon
opt in = optin
opt into = optin
opted in = optin
opting in = optin
opt out = optout
opted out = optout
opting out = optout
top up = topup
top ups = topup
topped up = topup
topping up = topup
tops up = topup
top me up = topup
add money = topup
add funds = topup
adding money = topup
adding funds = topup
set up = setup
setting up = setup
sets up = setup
back up = backup
backed up = backup
backing up = backup
pick up = pickup
drop off = dropoff
check in = checkin
check into = checkin
checking in = checkin
checked in = checkin
check out = checkout
checking out = checkout
checked out = checkout
fill in = complete
fill out = complete
filled out = complete
filling out = complete
find out = find
figure out = find
look up = find
look for = find
looking for = find
search for = find
get hold of = contact
get in touch with = contact
get in contact with = contact
reach out to = contact
get rid of = remove
take out = takeout
taking out = takeout
took out = takeout
get back = getback
got back = getback
give back = return
send back = return
sent back = return
bring back = return
money back = refund
get my money back = get refund
my money back = refund
give up = quit
shut down = shutdown
shut off = turnoff
start up = startup
boot up = boot
speed up = speedup
slow down = slowdown
scale up = scaleup
scale down = scaledown
zoom in = zoomin
zoom out = zoomout
go up = rise
went up = rise
going up = rise
go down = fall
went down = fall
going down = fall
came down = fall
come up = appear
show up = appear
shows up = appear
showed up = appear
showing up = appear
shown up = appear
turned up = appear
pop up = appear
carry out = perform
run out = runout
ran out = runout
work out = workout
go through = complete
went through = complete
going through = complete
gone through = complete
goes through = complete
go thru = complete
come through = complete
came through = complete
coming through = complete
put in = insert
hook up = connect
keep on = continue
end up =
ended up =
is not working = fail
not working = fail
not work = fail
does not work = fail
did not work = fail
will not work = fail
stopped working = fail
quit working = fail
stop working = fail
is broken = fail
broken = fail
not go complete = fail
credit card = creditcard
debit card = debitcard
gift card = giftcard
sim card = simcard
cell phone = phone
mobile phone = phone
smart phone = phone
pass code = passcode
pass word = password
user name = username
log file = logfile
e mail = email
web site = website
wi fi = wifi
wi fis = wifi
time zone = timezone
cash machine = atm
cash point = atm
cash dispenser = atm
money machine = atm
bank account = bankaccount
apple pay = applepay
google pay = googlepay
u s = usa
united states = usa
united states of america = usa
united kingdom = uk
u k = uk
great britain = uk
united kingdom = uk
european union = eu
new york = newyork
customer service = support
customer support = support
customer care = support
support team = support
help desk = support
call center = support
exchange rate = exchangerate
exchange rates = exchangerate
rate of exchange = exchangerate
rates of exchange = exchangerate
conversion rate = exchangerate
currency rate = exchangerate
per cent = percent
o clock =
a m = am-time
p m = pm-time
date of birth = birthday
zip code = postcode
postal code = postcode
post code = postcode
pin code = pin
pin number = pin
pin numbers = pin
per day = daily
a day = daily
each day = daily
every day = daily
per week = weekly
a week = weekly
each week = weekly
every week = weekly
per month = monthly
a month = monthly
each month = monthly
every month = monthly
per year = yearly
a year = yearly
each year = yearly
every year = yearly
per annum = yearly
not go through = fail
not going through = fail
not gone through = fail
not come through = fail
not correct = wrong
not right = wrong
not accurate = wrong
incorrect = wrong
at all =
top off = topup
topping off = topup
at what age = how-old
what age = how-old
is there a reason = why
what might the reason be =
what could the reason be =
what might be the reason = why
what are the steps in order to = how
steps in order to = how
what steps do i have to go through in order to = how
is there an option to = can i
someone stole = steal
what is the best way to = how
what's the best way to = how
without a fee = free
my own =
showing as =
shows as =
show as =
shown as =
appearing as =
appears as =
listed as =
marked as =
i can not seem to figure out why = why
i can not seem to understand why = why
i can not understand why = why
i can not seem to figure out how to = how
i can not seem to = i can not
can not seem to = can not
will not let me = i can not
does not let me = i can not
did not let me = i can not
is not letting me = i can not
will not allow me to = i can not
do not see why = why
went wrong = fail
go wrong = fail
what is the point of = why
the us = usa
what gives =
added money = topup
add some money = topup
add cash = topup
adding cash = topup
added funds = topup
how many days does it take = how-long-take
how many days will it take = how-long-take
how many days does = how-long
how many days do = how-long
how many days will = how-long
how many days until = how-long until
how much longer = how-long
what is the time frame for = how-long
what is the timeframe for = how-long
what amount of time = how-long
what are all the = what are the
not working = fail
what do i need to = what need
what do you need to = what need
what information do you need to = what need
as it is =
that i have =
that i made =
i have made =
i made =
i did =
that you have =
do you have =
do you offer = is there
in the world =
of all time =
in my case =
to me = me
on my end =
in the app =
"""

SYNONYMS: Final = """
find locate
buy purchase
cost price fee charge
fail fault malfunction
decline reject refuse deny
refund reimburse reimbursement
start begin commence
finish complete end
fix repair resolve solve troubleshoot correct
remove delete erase
modify change alter edit
pick choose select
create make generate
obtain get receive acquire
send transfer
help assist assistance support aid
phone telephone mobile cellphone smartphone
support helpdesk
picture photo image photograph
film movie
car automobile
store shop
job occupation
quick fast rapid
quickly fast rapidly
big large
small little
error bug
error mistake
verify verification confirm validate authenticate
identity identification id
cancel cancellation
pay payment
withdraw withdrawal takeout
deposit topup
load topup
reload topup
fund topup
money funds
money cash
arrive come delivery
deliver delivery arrive
ship send deliver
appear show reflect
appear display
show display
determine calculate compute
determine decide
expire expiry expiration
expire end
activate activation
enable activate turnon
disable deactivate turnoff
turnon start
turnoff shutdown
login access
signup register registration
register enroll
join signup
subscribe subscription
unsubscribe optout
setup install
setup set configure
configure config configuration set
exchange convert conversion
exchange swap
lost misplace
steal theft
steal robbed
block lock
blocked stuck
freeze block
restore recover
recover retrieve
return getback
contact reach call
website site
password passcode
username login-name
address location
allow permit let
allow accept
support accept take
necessary need require
increase raise
reduce lower decrease
kid child
physician doctor
holiday vacation
abroad overseas
foreign international
quick brief
example instance
purpose use
function work operate
feature function
work function operate
incorrect wrong inaccurate
correct right
twice duplicate double
multiple several many
limit maximum
maximum max
order purchase
item product
merchandise goods
receipt proof
statement record
transaction payment
top best
simplest easiest
explain describe
define mean definition
difference differ distinguish
compare comparison
capital capital-city
population inhabitants
author writer
wrote write
invent invention
discover discovery
biggest largest
smallest littlest
tallest highest
quickest fastest
trip journey
house home
apartment flat
employee worker staff
salary wage
employer company
lawyer attorney
movie film
ill sick
medicine medication
exercise workout
weight weigh
height tall
age old
laptop notebook
monitor screen
mistake error
photo image
folder directory
file document
program application
app application
delete uninstall
quick fast
invoice bill
ticket fine-ticket
parcel package
track trace follow
status state
arrival arrive
terminate end
terminate cancel close
close shut
topup recharge
postpone delay
delay late
late delay
link connect
unlink disconnect
link add
attach add
add include
replace replacement substitute
reset change
forget forgot
remember recall
require requirement
prevent avoid
automatic auto
automatically automatic auto
typical usual normal
normally usually typically
often frequently
regular normal
sometimes occasionally
instantly immediately instant immediate
immediately instant
currency money
nation country
pending processing
freelance freelancer
verify check
additional extra another
recent latest-done
age how-old
require need
restriction limit restrict
safe secure
topup refill
missing lost
authorize approve authorise approval
estimate approximate
couple several
update change
revert reverse
unsuccessful fail
trade exchange
order request
europe european
get order
get request
get apply
"""
