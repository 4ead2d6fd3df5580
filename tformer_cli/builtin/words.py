"""Tables of the words of the built-in English-Japanese data, with a word per row.

Tags name classes of meaning. A verb lists the tags of the nouns that it takes, so that people read books and
horses do not; a noun's name is a tag too. An indented line continues its row; "_" is a space, "-" is nothing.
"""

# english, plural, Japanese, counter, tags. Tags in capitals are about grammar: MASS (no article, no plural),
# BARE (no article ever), PAIR (plural only), KIN (always somebody's).
NOUNS = """
boy      boys      男の子    人 alive person male young
girl     girls     女の子    人 alive person female young
man      men       男の人    人 alive person male
woman    women     女の人    人 alive person female
child    children  子供      人 alive person young
teacher  teachers  先生      人 alive person job
student  students  学生      人 alive person job
doctor   doctors   医者      人 alive person job
Ken      -         ケン      -  alive person name male BARE
Emma     -         エマ      -  alive person name female BARE
Mr._Tanaka -       田中さん  -  alive person name male BARE
Ms._Sato -         佐藤さん  -  alive person name female BARE
mother   -         母        -  alive person KIN female
father   -         父        -  alive person KIN male
dog      dogs      犬        匹 alive animal runner pet
cat      cats      猫        匹 alive animal runner pet
mouse    mice      ねずみ    匹 alive animal runner small
bird     birds     鳥        羽 alive animal small
horse    horses    馬        頭 alive animal runner mount
cow      cows      牛        頭 alive animal
fish     fish      魚        匹 meal goods
apple    apples    りんご    個 food fodder goods
egg      eggs      卵        個 food meal goods
cake     cakes     ケーキ    個 food made goods
bread    -         パン      枚 food fodder goods MASS
water    -         水        杯 drink lap MASS
tea      -         お茶      杯 drink hot MASS
coffee   -         コーヒー  杯 drink hot MASS
milk     -         牛乳      杯 drink lap hot MASS
book     books     本        冊 text work thing goods
magazine magazines 雑誌      冊 text thing goods
dictionary dictionaries 辞書 冊 text tool thing goods
letter   letters   手紙      通 text work mail thing
movie    movies    映画      本 work show
song     songs     歌        曲 work tune
photo    photos    写真      枚 shot mail thing
shirt    shirts    シャツ    枚 worn clothes wash thing goods
coat     coats     コート    着 worn clothes wash thing goods
hat      hats      帽子      個 worn headwear thing goods
shoes    -         靴        足 footwear wash thing goods PAIR
pen      pens      ペン      本 tool thing goods
umbrella umbrellas 傘        本 tool thing goods
knife    knives    ナイフ    本 tool wash thing goods
bag      bags      かばん    個 container thing goods
box      boxes     箱        個 container made thing
computer computers パソコン  台 tool thing goods machine
car      cars      車        台 tool wash goods machine vehicle
bicycle  bicycles  自転車    台 tool wash goods machine vehicle mount
piano    -    ピアノ    - instrument goods
guitar   -   ギター    - instrument thing goods
chair    chairs    椅子      脚 made thing goods furniture
table    tables    テーブル  台 made wash goods furniture
flower   flowers   花        本 plant gift goods
tree     trees     木        本 plant
house    -    家        - building
door     doors     ドア      -  opening
window   windows   窓        -  opening wash
bus      -     バス      -  vehicle transport
train    trains    電車      -  vehicle transport
English  -         英語      -  language subject BARE
Japanese -         日本語    -  language subject BARE
French   -         フランス語 - language subject BARE
music    -         音楽      -  subject BARE
soccer   -         サッカー  -  sport BARE
tennis   -         テニス    -  sport BARE
baseball -         野球      -  sport BARE
"""

# subject, object, possessive, Japanese, tags
PRONOUNS = """
I    me   my    私     FIRST
you  you  your  あなた PLURAL
he   him  his   彼     male
she  her  her   彼女   female
we   us   our   私たち FIRST PLURAL
they them their 彼ら   PLURAL
"""

# English for being there, for going there, Japanese, tags
PLACES = """
at_school         to_school         学校 goal near       study sing
in_the_library    to_the_library    図書館 goal near     study
at_home           home              家         home study eat wash play sing rest make
in_the_park       to_the_park       公園 goal near       outdoor play sing field meet
in_the_garden     to_the_garden     庭         outdoor play wash rest make
at_the_station    to_the_station    駅 goal near         meet job
at_the_shop       to_the_shop       店 goal near         shop job
at_the_hospital   to_the_hospital   病院 goal near       job meet
in_the_restaurant to_the_restaurant レストラン goal near eat job
in_the_kitchen    to_the_kitchen    台所       eat
in_the_sea        to_the_sea        海   goal         water
in_Tokyo          to_Tokyo          東京       goal city job shop meet
in_Kyoto          to_Kyoto          京都       goal city job shop meet
in_Osaka          to_Osaka          大阪       goal city job shop meet
"""

# English, Japanese, tags of what may be there
LOCATIONS = """
on_the_table             テーブルの上 text food pet shot container pen knife umbrella computer
under_the_table          テーブルの下 pet small container footwear
on_the_chair             椅子の上     pet text clothes headwear container
under_the_chair          椅子の下     pet small container footwear
in_the_box               箱の中       pet small text shot headwear footwear pen knife
in_the_bag               かばんの中   text shot pen knife umbrella apple
under_the_tree           木の下       pet small mount cow person chair
in_front_of_the_station  駅の前       person car bicycle tree pet
in_front_of_the_house    家の前       person car bicycle tree flower pet mount
behind_the_house         家の後ろ     person car bicycle tree flower pet mount cow
behind_the_door          ドアの後ろ   umbrella pet young footwear
next_to_the_window       窓の横       furniture piano guitar pet flower
next_to_the_tree         木の横       person mount bicycle cow flower
near_the_school          学校の近く   person house tree car pet
in_the_garden            庭           pet mount cow bird flower tree young furniture
in_the_park              公園         person pet bird mount tree flower
in_the_kitchen           台所         pet mouse food KIN chair table knife
"""

# English, Japanese, kind (see `Time`)
TIMES = """
yesterday          昨日、     past
last_week          先週、     past
this_morning       今朝、     past
last_night         昨日の夜、 past
on_Sunday          日曜日に   past
every_day          毎日、     habit
every_morning      毎朝、     habit
tomorrow           明日、     future
next_week          来週、     future
now                今、       now
always             いつも     often
often              よく       often
sometimes          時々       often
"""

# English, comparative, Japanese, class, tags of the nouns it describes
ADJECTIVES = """
big         bigger           大きい   i  animal container machine furniture house headwear cake apple fish
    tree
small       smaller          小さい   i  animal container computer furniture house headwear cake bird fish
    flower
new         newer            新しい   i  machine text clothes footwear headwear house instrument furniture
    work
old         older            古い     i  machine book clothes footwear headwear house instrument furniture
    work shot
expensive   more_expensive   高い     i  machine clothes footwear headwear container instrument work food
cheap       cheaper          安い     i  machine clothes footwear headwear instrument umbrella food
heavy       heavier          重い     i  container computer furniture dictionary instrument bicycle
red         -                赤い     i  car clothes footwear headwear apple flower umbrella bag
white       -                白い     i  car clothes footwear headwear animal house flower box door
black       -                黒い     i  car clothes footwear headwear pet horse cow bag umbrella pen
good        better           いい     i  tool work instrument headwear container
delicious   more_delicious   おいしい i  food drink fish
interesting more_interesting 面白い   i  book magazine movie language sport
difficult   more_difficult   難しい   i  book letter song subject sport
cute        cuter            かわいい i  pet small young headwear bag horse
hot         hotter           熱い     i  hot
cold        colder           冷たい   i  drink
fast        faster           速い     i  car bicycle horse train dog
strong      stronger         強い     i  boy man horse cow dog girl
busy        busier           忙しい   i  job man woman name KIN
beautiful   more_beautiful   きれい   na flower house photo song bird clothes woman tree
kind        kinder           親切     na job man woman name KIN young
famous      more_famous      有名     na job movie song book shot
important   more_important   大切     na text photo subject bag
convenient  more_convenient  便利     na machine dictionary train bus bag
healthy     healthier        元気     na pet horse young name KIN cow
free        -                暇       na student man woman name KIN doctor
sick        -                病気     no pet horse young name KIN man woman
"""

# English, past, Japanese, class, object's particle | tags of subjects | objects | places | traits
# Traits: COUNT (numbers of objects make sense), THE (its objects are definite), NEW (they come to be),
# GENERIC (meant in general), STATE (present state: -te iru), EVENT (no progressive), HUMAN (pronouns are
# objects too), TO, FROM (a person), GO (a goal), WAY (from and to), THROUGH (its place takes を), WITH (in
# company), BY (vehicles).
VERBS = """
read       read       読む       godan     を | person | text | study outdoor | COUNT
write      wrote      書く       godan     を | person | book song letter | study outdoor | COUNT NEW
eat        ate        食べる     ichidan   を | alive | food meal | eat outdoor | COUNT
drink      drank      飲む       godan     を | alive | drink | eat outdoor | COUNT
buy        bought     買う       godan     を | person | goods | shop | COUNT
see        saw        見る       ichidan   を | alive | alive fish tree shot house train | outdoor city |
    COUNT EVENT HUMAN
watch      watched    見る       ichidan   を | person | movie soccer baseball | study city | COUNT
wash       washed     洗う       godan     を | person | wash pet apple horse cow | wash | COUNT
make       made       作る       godan     を | person | made clothes footwear coffee tea | make | COUNT NEW
open       opened     開ける     ichidan   を | person | opening container book dictionary letter | - | THE
close      closed     閉める     ichidan   を | person | opening box bag | - | THE
use        used       使う       godan     を | person | tool | study | COUNT
wear       wore       着る       ichidan   を | person | clothes | - | -
wear       wore       履く       godan     を | person | footwear | - | -
wear       wore       かぶる     godan     を | person | headwear | - | -
play       played     する       irregular を | person | sport | field city | -
play       played     弾く       godan     を | person | instrument | sing | THE
play       played     遊ぶ       godan     -  | person pet | - | play | WITH
study      studied    勉強する   irregular を | person | subject | study city | WITH
speak      spoke      話す       godan     を | person | language | study meet | WITH
sing       sang       歌う       godan     を | person | tune | sing | COUNT WITH
help       helped     手伝う     godan     を | person | person | study wash | -
meet       met        会う       godan     に | person | person | meet outdoor | EVENT HUMAN
wait_for   waited_for 待つ       godan     を | person | person bus | meet | HUMAN
look_for   looked_for 探す       godan     を | alive | thing pet young cow horse | study outdoor meet |
    HUMAN
find       found      見つける   ichidan   を | alive | thing pet small tree cow | study outdoor | COUNT
    EVENT HUMAN
chase      chased     追いかける ichidan   を | pet | runner young | outdoor | HUMAN
take       took       撮る       godan     を | person | photo | outdoor city sing | COUNT NEW
have       had        持つ       godan     を | person | thing goods house | - | COUNT STATE
ride       rode       乗る       godan     に | person | mount | outdoor city | -
like       liked      好き       na        が | person | animal food drink text work sport subject flower
    worn machine | - | EVENT GENERIC
want       wanted     欲しい     i         が | person | goods pet house horse | - | EVENT
understand understood 分かる     godan     が | person | language | - | EVENT
give       gave       あげる     ichidan   を | person | gift text photo food clothes shoes hat umbrella | -
    | COUNT TO
    EVENT
show       showed     見せる     ichidan   を | person | text photo pet hat | study | COUNT TO EVENT
send       sent       送る       godan     を | person | mail book flower box clothes shoes | - | COUNT TO
    EVENT
borrow     borrowed   借りる     ichidan   を | person | book magazine dictionary tool | study | COUNT FROM
    EVENT
go         went       行く       irregular へ | person | - | goal | GO WITH BY EVENT
come       came       来る       irregular に | person | - | goal | GO WITH BY EVENT
return     returned   帰る       godan     に | person | - | home city | GO EVENT
walk       walked     歩く       godan     -  | person runner | - | outdoor | THROUGH WAY WITH
run        ran        走る       godan     -  | person runner | - | outdoor | THROUGH WITH
swim       swam       泳ぐ       godan     -  | person dog | - | water | WITH
sleep      slept      寝る       ichidan   -  | alive | - | rest outdoor | -
work       worked     働く       godan     -  | job man woman name KIN | - | job | -
live       lived      住む       godan     に | person | - | city | STATE
"""
