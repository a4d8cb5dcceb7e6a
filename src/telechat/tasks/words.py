"""Word lists that the kinds share, so that a small vocabulary covers all of them."""

from __future__ import annotations

NAMES = ("Tom", "Anna", "Ben", "Lily", "Sam", "Mia", "Max", "Eva")
NAMES_ZH = ("小明", "小红", "小丽", "小华")
ITEMS = ("apples", "books", "pens", "cups", "eggs", "balls", "coins", "cards")
ITEMS_ZH = ("苹果", "鸡蛋", "本子", "杯子", "球")
CITIES = ("Paris", "Rome", "London", "Berlin", "Tokyo", "Madrid", "Oslo", "Cairo", "Lima", "Vienna")

TOPICS: dict[str, tuple[str, ...]] = {
    "animals": ("cat", "dog", "cow", "horse", "pig", "bird", "fish", "lion"),
    "colors": ("red", "blue", "green", "black", "white", "brown", "pink", "gray"),
    "fruits": ("apple", "pear", "plum", "lemon", "grape", "peach", "melon", "cherry"),
    "drinks": ("tea", "milk", "water", "juice", "coffee", "cola", "cocoa", "soda"),
    "tools": ("hammer", "saw", "knife", "drill", "nail", "rope", "axe", "brush"),
    "clothes": ("hat", "coat", "shirt", "shoe", "sock", "dress", "scarf", "glove"),
}
# What else is right when a word of a topic is asked for; training never shows these.
MORE: dict[str, str] = {
    "animals": "tiger bear wolf fox deer goat sheep duck goose hen rooster chicken rabbit mouse rat monkey ape gorilla "
    "elephant giraffe zebra camel donkey frog toad snake lizard turtle tortoise shark whale dolphin seal eagle owl "
    "hawk crow parrot penguin swan bee ant spider fly butterfly bat otter beaver badger squirrel hamster kangaroo "
    "koala panda leopard cheetah crocodile hippo rhino moose bison buffalo ox pony puppy kitten lamb turkey octopus "
    "crab lobster snail worm salmon trout tuna",
    "colors": "yellow orange purple violet gold silver beige cyan magenta turquoise teal navy maroon olive lime indigo "
    "crimson scarlet ivory tan lavender",
    "fruits": "banana orange mango kiwi fig date lime apricot papaya guava pineapple coconut strawberry raspberry blueberry "
    "blackberry cranberry watermelon grapefruit nectarine pomegranate lychee tangerine avocado quince currant",
    "drinks": "beer wine lemonade lassi smoothie milkshake punch cider whisky vodka gin rum espresso latte cappuccino "
    "chai kefir champagne tonic ale cocktail",
    "tools": "screwdriver wrench pliers file chisel spanner shovel spade rake hoe ladder level clamp vise tape ruler "
    "scissors screw bolt plane mallet crowbar trowel sander grinder awl pick tongs",
    "clothes": "cap jacket pants trousers jeans skirt boot belt tie sweater jumper vest blouse sandal mitten hood robe suit "
    "shorts cardigan hoodie slipper sneaker underwear pajamas gown apron raincoat",
    "动物": "虎 狮 羊 猪 兔 鼠 龙 蛇 猴 鸡 鸭 鹅 狼 熊 鹿 象 虾 蟹 龟 蛙 蜂 蚁 老虎 狮子 兔子 猴子 "
    "大象 熊猫 老鼠 狐狸 猫头鹰 小猫 小狗",
    "颜色": "紫 灰 橙 粉 棕 青 金 银 红色 蓝色 绿色 黑色 白色 黄色 紫色 灰色 橙色 粉色 棕色 青色",
    "水果": "橙 柚 橘 莓 柿 苹果 香蕉 葡萄 西瓜 草莓 芒果 荔枝 菠萝 樱桃 橙子 桃子 梨子 李子 柠檬 柚子 橘子 蓝莓",
    "身体": "足 鼻 嘴 腿 腰 背 胸 腹 肩 颈 脸 舌 牙 心 眼睛 鼻子 嘴巴 耳朵 手臂 肚子 头发 脖子 肩膀 膝盖 手指",
}

TOPICS_ZH: dict[str, tuple[str, ...]] = {
    "动物": ("猫", "狗", "牛", "马", "鸟", "鱼"),
    "颜色": ("红", "蓝", "绿", "黑", "白", "黄"),
    "水果": ("梨", "桃", "枣", "李", "杏", "瓜"),
    "身体": ("手", "脚", "头", "眼", "口", "耳"),
}
